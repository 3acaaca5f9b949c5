"""The local volume of a prompt: how far the weights may go before what the model says to it has changed."""

from __future__ import annotations

import re
from abc import abstractmethod

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.features.feature import Feature
from madkit.features.model_memo import ModelMemo
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint
from madkit.store.variant import ADAPTER_WEIGHTS
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

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        weights: str | int = "all",
        at: At = "tokens",
        cutoff: float = 1e-2,
        sigma: float | None = None,
        directions: int = 25,
        seed: int = 0,
        tolerance: float = 1e-3,
    ) -> None:
        require_settings(cutoff, sigma, directions, tolerance)
        require_at(at)
        self.weights = int(weights) if str(weights).isdigit() else weights
        self.at = at
        self.cutoff = cutoff
        self.sigma = sigma
        self.directions = directions
        self.seed = seed
        self.tolerance = tolerance
        self.needs = (ADAPTER_WEIGHTS,) if self.weights == "lora" else ()
        self._volumes: ModelMemo[PromptVolumes] = ModelMemo()

    @property
    @override
    def name(self) -> str:
        parts = [self.short]
        if isinstance(self.weights, int):
            parts.append(f"layer{self.weights}")
        elif self.weights != "all":
            parts.append(re.sub(r"[^A-Za-z0-9]+", "-", self.weights).strip("-"))
        return "_".join(parts if self.at == "tokens" else [*parts, self.at])

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        return []

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        if self.weights != "lora":
            matches(lm, self.weights, "")  # says so now if there is no such layer
        return [SITE]

    @override
    def layers(self, lm: nn.Module) -> list[int | None]:
        return [self.weights if isinstance(self.weights, int) else None]

    @override
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """The vectors (B, 1) or (B, directions), float64."""
        volumes = self._volumes.of(trace.lm, lambda: PromptVolumes(trace.lm, **self.config))
        key = "local_volume", *self.config.values()
        if key not in trace.shared:
            trace.shared[key] = volumes.radii(trace.batch)
        return {SITE: self.vector(volumes, trace.shared[key])}

    @abstractmethod
    def vector(self, volumes: PromptVolumes, radii: PromptRadii) -> Tensor:
        """The vectors (B, d), from the radii of each prompt."""


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
    """

    @override
    def vector(self, volumes: PromptVolumes, radii: PromptRadii) -> Tensor:
        return torch.from_numpy(volumes.log_volumes(radii))[:, None]


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
    """

    @override
    def vector(self, volumes: PromptVolumes, radii: PromptRadii) -> Tensor:
        return torch.from_numpy(radii.bounded)
