"""The local volume of a prompt: how far the weights may go before what the model says to it has changed."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from madkit.features.feature import Feature, Reading
from madkit.lm.hooks import Hookpoint
from madkit.volume.estimation.volume_estimate import require_settings
from madkit.volume.lm.divergence import At, require_at
from madkit.volume.prompt_volumes import PromptRadii, PromptVolumes
from madkit.volume.weight_space.parameter_selection import matches

SITE = "weights"


class VolumeFeature(Feature):
    """What the volume and the radii of a prompt have in common: one search, which both share in a pass.

    Args:
        weights: which weights are perturbed: ``all``, ``lora``, a layer's number, or a regular expression for their
            names. An adapter that is not chosen counts as part of the weights that it is added to.
        at: where predictions are compared: after all ``tokens`` of the prompt, by their mean KL divergence [as
            published]; after its ``last`` token; or there between the two ``answers`` alone.
        cutoff: the KL divergence in nats that ends the region [1e-2].
        sigma: standard deviation of the Gaussian measure; null for the root mean square of the weights.
        directions: how many random directions, the same for all prompts [25].
        seed: which ones.
        tolerance: how close the KL divergence at a radius must come to the cutoff, as a share of it.
        adapter: ``false`` reads the same prompts with the LoRA switched off: a control, called ``base_...``.

    Raises:
        ConfigError: an option is out of range.
    """

    short: str

    def __init__(
        self,
        weights: str | int = "all",
        at: At = "tokens",
        cutoff: float = 1e-2,
        sigma: float | None = None,
        directions: int = 25,
        seed: int = 0,
        tolerance: float = 1e-3,
        adapter: bool = True,
    ) -> None:
        require_settings(cutoff, sigma, directions, tolerance)
        require_at(at)
        self.weights = int(weights) if str(weights).isdigit() else weights
        self.settings: dict[str, Any] = {
            "weights": self.weights, "at": at, "cutoff": cutoff, "sigma": sigma, "directions": directions,
            "seed": seed, "tolerance": tolerance,
        }  # fmt: skip
        self.adapter = adapter
        own = "" if self.weights == "all" else "_" + re.sub(r"[^A-Za-z0-9]+", "-", str(self.weights)).strip("-")
        own = own.replace("_", "_layer", 1) if isinstance(self.weights, int) else own
        self.name = ("" if adapter else "base_") + self.short + own + ("" if at == "tokens" else f"_{at}")
        self._volumes: PromptVolumes | None = None

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """Nothing inside the model."""
        return []

    def sites(self, lm: nn.Module) -> list[str]:
        """One site."""
        if self.weights != "lora":
            matches(lm, self.weights, "")  # says so now if there is no such layer
        return [SITE]

    def layers(self, lm: nn.Module) -> list[int | None]:
        """The layer whose weights are perturbed, if it is one."""
        return [self.weights if isinstance(self.weights, int) else None]

    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """The vectors (B, 1) or (B, directions), float64."""
        if self._volumes is None:
            self._volumes = PromptVolumes(reading.lm, **self.settings)
        key = "local_volume", *self.settings.values()
        if key not in reading.shared:
            reading.shared[key] = self._volumes.radii(reading.batch)
        return {SITE: self.vector(self._volumes, reading.shared[key])}

    @abstractmethod
    def vector(self, volumes: PromptVolumes, found: PromptRadii) -> Tensor:
        """What the search found, as a vector for each prompt."""

    def options(self) -> dict[str, Any]:
        """Plain options."""
        return {"class": type(self).__name__, "adapter": self.adapter, **self.settings}


class LocalVolume(VolumeFeature):
    """The log of a prompt's local volume, one number (arXiv 2501.18812, with one prompt as all data).

    It is the log probability, under a Gaussian over the weights, of the region around them in which the model's
    predictions on this prompt hardly change. A small volume means that the model has to be just so: use the score
    ``LowValue``. The published study found the opposite of what it expected (AUROC 0.38).

    Args:
        weights: see `VolumeFeature`.
        at: ``tokens`` [as published], ``last`` or ``answers``.
        cutoff: the KL divergence in nats that ends the region [1e-2].
        sigma: standard deviation of the Gaussian measure; null for the root mean square of the weights.
        directions: how many random directions [25].
        seed: which ones.
        tolerance: of the KL divergence at a radius, as a share of the cutoff.
        adapter: ``false`` for the control with the LoRA switched off.
    """

    short = "local_volume"

    def vector(self, volumes: PromptVolumes, found: PromptRadii) -> Tensor:
        """See the base class."""
        return torch.from_numpy(volumes.log_volumes(found))[:, None]


class LocalVolumeRadii(VolumeFeature):
    """A prompt's radii along fixed random directions: a fingerprint of which weights its predictions rest on.

    Where a direction never changes the predictions by the cutoff, the radius is the distance beyond which the Gaussian
    measure has no mass.

    Args:
        weights: see `VolumeFeature`.
        at: ``tokens`` [as published], ``last`` or ``answers``.
        cutoff: the KL divergence in nats that ends the region [1e-2].
        sigma: decides only how far a direction is followed; null for the root mean square of the weights.
        directions: how many random directions [25].
        seed: which ones.
        tolerance: of the KL divergence at a radius, as a share of the cutoff.
        adapter: ``false`` for the control with the LoRA switched off.
    """

    short = "local_volume_radii"

    def vector(self, volumes: PromptVolumes, found: PromptRadii) -> Tensor:
        """See the base class."""
        return torch.from_numpy(found.bounded)
