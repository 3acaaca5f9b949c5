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
from madkit.runs.fingerprints import digest
from madkit.volume.estimation.crossings import find_crossings
from madkit.volume.estimation.distributed import from_first_rank, over_ranks
from madkit.volume.estimation.followed_directions import FollowedDirections
from madkit.volume.estimation.ray_mass import outer_radius
from madkit.volume.estimation.volume_estimate import VolumeEstimate, require_settings
from madkit.volume.lm.divergence import At
from madkit.volume.lm.mean_divergence import Batch, MeanDivergence
from madkit.volume.weight_space.direction import Direction
from madkit.volume.weight_space.preconditioners import Blocks
from madkit.volume.weight_space.weights import Weights

FIELDS = ("radius", "change", "reached", "stretch", "aligned", "evaluations")


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

    The weights are perturbed in place and restored bit for bit, also after an error. Under ``torch.distributed``
    every process must call this with the same prompts: they share the directions, unless the weights are sharded
    (FSDP2), where all processes follow each direction together. The result is that of one process.

    Args:
        lm: a causal LM, with or without a PEFT adapter, in evaluation mode.
        batches: ``input_ids`` and ``attention_mask`` (B, T), padded on the left, and for ``answers`` also ``choices``
            (B, 2).
        weights: ``all``, ``lora``, a layer's number, or a regular expression for names; see
            `madkit.volume.weight_space.parameter_selection.chosen_parameters`. An adapter that is not chosen counts as
            part of the weights that it is added to.
        at: where KL(original || perturbed) is taken: after all ``tokens`` of the prompts and averaged over them [as
            published], after the ``last`` token of each, or there between the two ``answers`` alone.
        cutoff: the mean KL divergence that ends the region, in nats [1e-2].
        sigma: standard deviation of the Gaussian measure; None for the root mean square of the chosen weights. Models
            can be compared under one sigma only.
        directions: how many [25].
        preconditioner: scales of the directions, such as ``Blocks(adam_scales(...))``.
        seed: which directions; the same ones for all models with the same names of parameters.
        tolerance: how close the KL divergence at a radius must come to the cutoff, as a share of it.
        folder: where each direction is written once it has been followed, so that an interrupted call continues.
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
        "prompts": divergence.prompts,
    }  # fmt: skip
    numbers = {"sigma": sigma, "norm": vector.norm, "logits": divergence.size}
    if preconditioner is not None:
        numbers |= {f"scales of {name}": float(x.log().square().sum()) for name, x in preconditioner.scales.items()}
    kept = FollowedDirections(None if folder is None else Path(folder), settings, numbers)
    first = not dist.is_initialized() or dist.get_rank() == 0

    def follow(numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        results: dict[int, dict[str, Any]] = {}
        with vector.borrowed(), torch.no_grad():
            for k in tqdm(
                list(numbers), desc="local volume", unit="direction", disable=None if progress and first else True
            ):
                results[k] = kept.read(k) or _follow(vector, divergence, Direction(seed, k), sigma, cutoff, tolerance)
                if first or not vector.sharded:
                    kept.write(k, results[k])
        return results

    rows = over_ranks(directions, follow, split=not vector.sharded)
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
        return np.array([from_first_rank(value, vector.device) if vector.sharded else value])

    limit = outer_radius(vector.dimension, np.array([ray.aligned]), sigma)
    crossing = find_crossings(change, limit / 100, limit, cutoff, tolerance)
    values = (
        crossing.radii, crossing.changes, crossing.reached, [ray.stretch], [ray.aligned], crossing.evaluations,
    )  # fmt: skip
    return {name: np.asarray(value).tolist()[0] for name, value in zip(FIELDS, values, strict=True)}


def _sigma(vector: Weights, sigma: float | None) -> float:
    if sigma is None and not vector.norm:
        raise ConfigError("sigma=None takes the root mean square of the weights, which are all 0: give a sigma")
    return vector.rms if sigma is None else sigma
