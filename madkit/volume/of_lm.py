"""The local volume of a causal language model: of all its weights, a layer's, a LoRA's, or those of a name pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from tqdm import tqdm

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.runs.fingerprints import digest
from madkit.volume.estimation.distributed import agreed, over_ranks
from madkit.volume.estimation.estimate import VolumeEstimate, require_settings
from madkit.volume.estimation.integral import outer_radius
from madkit.volume.estimation.radius import find_crossings
from madkit.volume.estimation.record import Record
from madkit.volume.lm.divergence import At, divergences, original_logits, require_at
from madkit.volume.weights.directions import Direction
from madkit.volume.weights.preconditioner import Blocks
from madkit.volume.weights.weights import Weights

Batch = dict[str, Any]
FIELDS = ("radius", "change", "reached", "stretch", "aligned", "evaluations")


class MeanDivergence:
    """The mean KL divergence of a model's predictions from what they are now, over all places of some prompts.

    The original logits are computed once, here, and kept: (places, vocabulary) in the model's number format.

    Args:
        lm: the model, as it is at the centre.
        batches: the prompts.
        at: ``tokens`` (mean over all tokens of all prompts), ``last`` or ``answers`` (mean over prompts).
        cache: where the original logits are kept; None for where the model is.

    Raises:
        ConfigError: there are no prompts, or ``at`` is unknown.
    """

    def __init__(self, lm: Any, batches: Iterable[Batch], at: At = "tokens", cache: str | None = None) -> None:
        require_at(at)
        self.lm, self.at = forward.plain(lm), at
        device = next(self.lm.parameters()).device
        keys = ("input_ids", "attention_mask", "choices")
        self.batches = [{k: batch[k].to(device) for k in keys if k in batch} for batch in batches]
        if not self.batches:
            raise ConfigError("batches=[] is empty: give at least one batch of prompts")
        with torch.no_grad():
            self.originals = [original_logits(self.lm, b, at).to(cache or device) for b in self.batches]

    @property
    def size(self) -> float:
        """The sum of the original logits' magnitudes, which tells one model from another."""
        return sum(float(x.double().abs().sum()) for x in self.originals)

    @torch.no_grad()
    def __call__(self) -> float:
        """The mean for the model as it is."""
        total, count = 0.0, 0
        for batch, original in zip(self.batches, self.originals, strict=True):
            sums, counts = divergences(self.lm, batch, self.at, original)
            total, count = total + float(sums.sum()), count + int(counts.sum())
        return total / count


def lm_log_volume(
    lm: Any,
    batches: Iterable[Batch],
    weights: str | int = "all",
    at: At = "tokens",
    cutoff: float = 1e-2,
    sigma: float | None = None,
    directions: int = 25,
    preconditioner: Blocks | None = None,
    seed: int = 0,
    tolerance: float = 1e-3,
    folder: Path | str | None = None,
    cache: str | None = None,
    progress: bool = True,
) -> VolumeEstimate:
    """The log volume of the region of weights in which an LM's predictions on some prompts change little.

    The weights are perturbed in place and come back bit for bit, also after an error. Under ``torch.distributed``
    every process must call this with the same prompts: the directions are dealt out, unless the weights are sharded
    (FSDP2), where all processes follow each direction together. The result is that of one process.

    Args:
        lm: a causal LM, with or without a PEFT adapter, in evaluation mode.
        batches: ``input_ids`` and ``attention_mask`` (B, T), padded on the left, and for ``answers`` also ``choices``
            (B, 2).
        weights: ``all``, ``lora``, a layer's number, or a regular expression for names; see
            `madkit.volume.lm.selection.chosen_parameters`. An adapter that is not chosen counts as part of the weights
            that it is added to.
        at: where KL(original || perturbed) is taken: after all ``tokens`` of the prompts and averaged over them [as
            published], after the ``last`` token of each, or there between the two ``answers`` alone.
        cutoff: the mean KL divergence that ends the region, in nats [1e-2].
        sigma: standard deviation of the Gaussian measure; None for the root mean square of the chosen weights. Models
            can be compared under one sigma only.
        directions: how many [25].
        preconditioner: scales of the directions, such as ``Blocks(adam_scales(...))``.
        seed: which directions; the same ones for all models with the same names of parameters.
        tolerance: how close the KL divergence at a radius must come to the cutoff, as a share of it.
        folder: where each direction is written as it comes, so that an interrupted call continues.
        cache: where the original logits are kept, such as ``cpu``; None for where the model is.
        progress: show a bar on the terminal.

    Raises:
        ConfigError: an argument is out of range.
        StoreError: the folder holds directions of other weights, prompts or settings.
    """
    require_settings(cutoff, sigma, directions, tolerance)
    vector = Weights(lm, weights, preconditioner)
    sigma = _sigma(vector, sigma)
    divergence = MeanDivergence(lm, batches, at, cache)
    settings = {
        "cutoff": cutoff, "seed": seed, "tolerance": tolerance, "at": at, "dimension": vector.dimension,
        "names": digest([block.name for block in vector.blocks]),
        "prompts": digest([b["input_ids"].tolist() for b in divergence.batches]),
    }  # fmt: skip
    numbers = {"sigma": sigma, "norm": vector.norm, "logits": divergence.size}
    if preconditioner is not None:
        numbers |= {f"scales of {name}": float(x.log().square().sum()) for name, x in preconditioner.scales.items()}
    record = Record(None if folder is None else Path(folder), settings, numbers)
    first = not dist.is_initialized() or dist.get_rank() == 0

    def find(numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        with vector.borrowed(), torch.no_grad():
            for k in tqdm(
                list(numbers), desc="local volume", unit="direction", disable=None if progress and first else True
            ):
                found[k] = record.read(k) or _follow(vector, divergence, Direction(seed, k), sigma, cutoff, tolerance)
                if first or not vector.sharded:
                    record.write(k, found[k])
        return found

    rows = over_ranks(directions, find, split=not vector.sharded)
    columns = {name: np.array([row[name] for row in rows]) for name in FIELDS}
    return VolumeEstimate(
        vector.dimension, sigma, cutoff, vector.norm, columns["radius"], columns["change"], columns["reached"],
        columns["stretch"], columns["aligned"], columns["evaluations"],
    )  # fmt: skip


def _follow(
    vector: Weights,
    divergence: Callable[[], float],
    direction: Direction,
    sigma: float,
    cutoff: float,
    tolerance: float,
) -> dict[str, Any]:
    """Where one direction leaves the region."""
    ray = vector.ray(direction)

    def change(which: NDArray[np.int64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
        vector.move(ray, float(radii[0]))
        value = divergence()
        return np.array([agreed(value, vector.device) if vector.sharded else value])

    limit = outer_radius(vector.dimension, np.array([ray.aligned]), sigma)
    found = find_crossings(change, limit / 100, limit, cutoff, tolerance)
    values = (found.radii, found.changes, found.reached, [ray.stretch], [ray.aligned], found.evaluations)
    return {name: np.asarray(value).tolist()[0] for name, value in zip(FIELDS, values, strict=True)}


def _sigma(vector: Weights, sigma: float | None) -> float:
    if sigma is None and not vector.norm:
        raise ConfigError("sigma=None takes the root mean square of the weights, which are all 0: give a sigma")
    return vector.rms if sigma is None else sigma
