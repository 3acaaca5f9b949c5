"""Radii and log volumes of single prompts, all prompts of a batch sharing each evaluation of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.lm import forward
from madkit.volume.estimation.estimate import log_mean_exp, require_settings
from madkit.volume.estimation.integral import log_mass, outer_radius
from madkit.volume.estimation.radius import find_crossings
from madkit.volume.lm.divergence import At, compared, kl_divergence, logits_at, original_logits, require_at, spans
from madkit.volume.lm.per_prompt_shift import Fan
from madkit.volume.weights.directions import Direction
from madkit.volume.weights.preconditioner import Blocks
from madkit.volume.weights.weights import Ray, Weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PromptRadii:
    """How far the weights can go along n directions before what a model says to each of B prompts has changed."""

    radii: Array
    """Distances (B, n) at which the KL divergence was evaluated; infinite where it never reaches the cutoff."""
    changes: Array
    """The KL divergence (B, n) there."""
    limits: Array
    """The farthest (n,) that matters: beyond it there is no Gaussian mass."""
    passes: int
    """Forward passes, each with one setting of the weights for the whole batch."""

    @property
    def bounded(self) -> Array:
        """Radii (B, n), those that are infinite replaced by the limit of their direction."""
        return np.minimum(self.radii, self.limits)


class PromptVolumes:
    """Local volumes of a language model, one for each prompt.

    The published way perturbs the weights for one prompt and one radius at a time. Here a direction is made once for a
    batch, and in each forward pass every prompt is at a radius of its own (see `Fan`): all searches
    run side by side, and a prompt that has found its radius leaves the batch.

    Half precision: weights stay as they are and the direction acts beside them, so steps far smaller than a weight's
    last bit still count, where perturbed weights would be rounded to bfloat16. Activations are rounded all the same.

    Args:
        lm: a causal LM, with or without a PEFT adapter, in evaluation mode, whole on this process.
        weights: which; see `madkit.volume.lm.selection.chosen_parameters`.
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
        self.lm, self.at = forward.plain(lm), at
        self.cutoff, self.tolerance = cutoff, tolerance
        self.vector = Weights(lm, weights, preconditioner)
        self.sigma = self.vector.rms if sigma is None else sigma
        self.directions = [Direction(seed, k) for k in range(directions)]
        self.fan = Fan(self.lm, self.vector)

    @cached_property
    def rays(self) -> list[Ray]:
        """The directions as these weights see them, measured once."""
        return [self.vector.ray(direction) for direction in self.directions]

    @cached_property
    def limits(self) -> Array:
        """The farthest (n,) along each direction that matters."""
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
        owner = compared(self.lm, batch, self.at).owner
        original = original_logits(self.lm, batch, self.at)
        radii, changes = np.empty((b, len(self.rays))), np.empty((b, len(self.rays)))
        passes, start = 0, np.full(b, self.limits[0] / 100)
        with self.fan:
            for k, ray in enumerate(self.rays):
                self.fan.aim(ray)

                def change(which: NDArray[np.int64], distances: Array) -> Array:
                    nonlocal passes
                    passes += 1
                    return self._divergences(batch, which, distances, original, owner)

                limit = np.full(b, self.limits[k])
                found = find_crossings(change, start, limit, self.cutoff, self.tolerance)
                self.fan.require_complete()
                radii[:, k], changes[:, k] = found.radii, found.changes
                # Where a prompt's region ends in one direction is a good guess for the next.
                start = np.minimum(found.radii, limit)
        return PromptRadii(radii, changes, self.limits, passes)

    def log_volumes(self, found: PromptRadii) -> Array:
        """The log volume (B,) of each prompt: the log of the mean over directions."""
        aligned = np.array([ray.aligned for ray in self.rays])
        stretches = np.array([ray.stretch for ray in self.rays])
        mass = log_mass(self.vector.dimension, found.radii, aligned, self.vector.norm, self.sigma)
        return log_mean_exp(mass - self.vector.dimension * np.log(stretches), axis=1)

    def _divergences(
        self, batch: dict[str, Any], which: NDArray[np.int64], distances: Array, original: Tensor, owner: Tensor
    ) -> Array:
        """The mean KL divergence (j,) of some prompts, each at its own distance."""
        device = batch["input_ids"].device
        chosen = torch.as_tensor(which, device=device)
        part = {key: value[chosen] for key, value in batch.items()}
        mask = part["attention_mask"]
        longest = int(mask.sum(1).max())
        part["input_ids"], part["attention_mask"] = part["input_ids"][:, -longest:], mask[:, -longest:]
        before = original[torch.isin(owner, chosen)]
        radii = torch.as_tensor(distances, device=device)
        with self.fan.at(radii):
            found = compared(self.lm, part, self.at)
        sums = torch.zeros(len(which), dtype=torch.float64, device=device)
        for span in spans(self.lm, len(found.owner)):
            # What enters the unembedding is no longer a row for each prompt: it is told whose rows these are.
            with self.fan.at(radii[found.owner[span]]):
                kl = kl_divergence(before[span], logits_at(self.lm, found, span))
            sums.index_add_(0, found.owner[span], kl)
        return (sums / torch.bincount(found.owner, minlength=len(which))).cpu().numpy()
