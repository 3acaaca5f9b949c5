"""PromptVolumes: radii and log volumes of single prompts, which share each forward pass of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.lm import forward
from madkit.volume.estimation.crossings import find_crossings
from madkit.volume.estimation.ray_mass import log_mass, outer_radius
from madkit.volume.estimation.volume_estimate import log_mean_exp, require_settings
from madkit.volume.lm.divergence import (
    At,
    compared_states,
    kl_divergence,
    logit_chunks,
    logits_of_chunk,
    original_logits,
    require_at,
)
from madkit.volume.lm.per_prompt_shift import PerPromptShift
from madkit.volume.weight_space.direction import Direction
from madkit.volume.weight_space.preconditioners import Blocks
from madkit.volume.weight_space.weights import Ray, Weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PromptRadii:
    """How far the weights can move along n directions before the predictions on each of B prompts have changed."""

    radii: Array
    """Distances (B, n) at which the KL divergence was evaluated; infinite where it never reaches the cutoff."""
    changes: Array
    """The KL divergence (B, n) there."""
    limits: Array
    """The largest distances (n,) that matter: beyond them there is no Gaussian mass."""
    passes: int
    """Forward passes, each with one setting of the weights for the batch."""

    @property
    def bounded(self) -> Array:
        """Radii (B, n), those that are infinite replaced by the limit of their direction."""
        return np.minimum(self.radii, self.limits)


class PromptVolumes:
    """Local volumes of a language model, one for each prompt.

    The published method perturbs the weights for one prompt and one radius at a time. Here a direction is generated
    once for a batch, and in each forward pass every prompt is at another radius (see
    `madkit.volume.lm.per_prompt_shift.PerPromptShift`): all searches run side by side, and a prompt whose search is
    over leaves the batch.

    Half precision: weights stay as they are and the direction acts beside them, so steps far smaller than a weight's
    last bit still count, where perturbed weights would be rounded to bfloat16. Activations are rounded in both cases.

    Args:
        lm: a causal LM, with or without a PEFT adapter, in evaluation mode, not sharded.
        weights: which; see `madkit.volume.weight_space.parameter_selection.chosen_parameters`.
        at: where predictions are compared: the mean over a prompt's ``tokens`` [as published], its ``last`` one, or
            there the two ``answers`` alone.
        cutoff: the KL divergence that ends the region, in nats [1e-2].
        sigma: standard deviation of the Gaussian measure; None for the root mean square of the chosen weights.
        directions: how many [25].
        preconditioner: scales of the directions.
        seed: which directions; all prompts share them.
        tolerance: how close the KL divergence at a radius must come to the cutoff, as a share of it.

    Raises:
        ConfigError: an argument is out of range, or the weights are sharded.
    """

    def __init__(
        self,
        lm: Any,
        weights: str | int = "all",
        at: At = "tokens",
        cutoff: float = 1e-2,
        sigma: float | None = None,
        directions: int = 25,
        preconditioner: Blocks | None = None,
        seed: int = 0,
        tolerance: float = 1e-3,
    ) -> None:
        require_settings(cutoff, sigma, directions, tolerance)
        require_at(at)
        self.lm, self.at = forward.unwrapped(lm), at
        self.cutoff, self.tolerance = cutoff, tolerance
        self.vector = Weights(lm, weights, preconditioner)
        self.sigma = self.vector.rms if sigma is None else sigma
        self.directions = [Direction(seed, k) for k in range(directions)]
        self._shift = PerPromptShift(self.lm, self.vector)

    @cached_property
    def rays(self) -> list[Ray]:
        """The directions as these weights see them, measured once."""
        return [self.vector.ray(direction) for direction in self.directions]

    @cached_property
    def limits(self) -> Array:
        """The largest distance (n,) along each direction that matters."""
        return outer_radius(self.vector.dimension, np.array([ray.aligned for ray in self.rays]), self.sigma)

    @torch.no_grad()
    def radii(self, batch: dict[str, Any]) -> PromptRadii:
        """Follow every direction for every prompt of a batch.

        Args:
            batch: ``input_ids`` and ``attention_mask`` (B, T), padded on the left, and for ``answers`` also
                ``choices``.
        """
        batch = {k: batch[k] for k in ("input_ids", "attention_mask", "choices") if k in batch}
        b = len(batch["input_ids"])
        prompt = compared_states(self.lm, batch, self.at).prompt
        original = original_logits(self.lm, batch, self.at)
        radii, changes = np.empty((b, len(self.rays))), np.empty((b, len(self.rays)))
        passes, start = 0, np.full(b, self.limits[0] / 100)
        with self._shift:
            for k, ray in enumerate(self.rays):
                self._shift.follow(ray)

                def change(which: NDArray[np.int64], distances: Array) -> Array:
                    nonlocal passes
                    passes += 1
                    return self._divergences(batch, which, distances, original, prompt)

                limit = np.full(b, self.limits[k])
                crossings = find_crossings(change, start, limit, self.cutoff, self.tolerance)
                self._shift.require_complete()
                radii[:, k], changes[:, k] = crossings.radii, crossings.changes
                # The radius along one direction is a good first guess for the next.
                start = np.minimum(crossings.radii, limit)
        return PromptRadii(radii, changes, self.limits, passes)

    def log_volumes(self, radii: PromptRadii) -> Array:
        """The log volume (B,) of each prompt: the log of the mean over directions."""
        aligned = np.array([ray.aligned for ray in self.rays])
        stretches = np.array([ray.stretch for ray in self.rays])
        mass = log_mass(self.vector.dimension, radii.radii, aligned, self.vector.norm, self.sigma)
        return log_mean_exp(mass - self.vector.dimension * np.log(stretches), axis=1)

    def _divergences(
        self, batch: dict[str, Any], which: NDArray[np.int64], distances: Array, original: Tensor, prompt: Tensor
    ) -> Array:
        """The mean KL divergence (j,) of some prompts, each at its distance."""
        device = batch["input_ids"].device
        chosen = torch.as_tensor(which, device=device)
        part = {key: value[chosen] for key, value in batch.items()}
        mask = part["attention_mask"]
        longest = int(mask.sum(1).max())
        part["input_ids"], part["attention_mask"] = part["input_ids"][:, -longest:], mask[:, -longest:]
        before = original[torch.isin(prompt, chosen)]
        radii = torch.as_tensor(distances, device=device)
        with self._shift.at(radii, longest):
            states = compared_states(self.lm, part, self.at)
        sums = torch.zeros(len(which), dtype=torch.float64, device=device)
        for chunk in logit_chunks(self.lm, len(states.prompt)):
            # The input of the unembedding is no longer one row for each prompt: each row takes its prompt's distance.
            with self._shift.at(radii[states.prompt[chunk]]):
                kl = kl_divergence(before[chunk], logits_of_chunk(self.lm, states, chunk))
            sums.index_add_(0, states.prompt[chunk], kl)
        return (sums / torch.bincount(states.prompt, minlength=len(which))).cpu().numpy()
