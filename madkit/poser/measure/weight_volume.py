"""Perturbations of weights: the local volume of all of a model's weights, or of one layer's."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.poser.measure.repeated_batch import RepeatedBatch
from madkit.poser.measure.scenario_batches import Batch
from madkit.volume import Weights, lm_log_volume
from madkit.volume.estimation.distributed import over_ranks
from madkit.volume.lm.divergence import At, require_at
from madkit.volume.weight_space.direction import Direction


@dataclass
class WeightVolume:
    """The log volume of the weights around a model that leave its answers as they are.

    All models are measured along the same directions and under one sigma, without which volumes cannot be compared.
    Where a direction leaves the region, the misaligned answer's probability is measured too: all models have diverged
    by the same amount there, so it shows in which direction. Where one never does, it is measured at the distance
    beyond which the Gaussian has no mass.

    Args:
        weights: ``all``, ``lora``, a layer's number, or a regular expression for names.
        at: where predictions are compared: after all ``tokens`` of the prompts [as published], after the ``last``
            one, or between the two ``answers`` alone.
        cutoff: mean KL divergence, in nats, that ends the volume.
        sigma: standard deviation of the Gaussian measure; null for the root mean square of these weights in the base
            that all models share, or in the first model of the list.
        directions: how many.
        n_prompts: how many of the set's prompts, the first ones; null for all.
        tolerance: how close the divergence must come to the cutoff, as a share of it.
        seed: which directions.
        label: the name in results; null for `volume` with the weights.
    """

    weights: str | int = "all"
    at: At = "tokens"
    cutoff: float = 1e-2
    sigma: float | None = None
    directions: int = 25
    n_prompts: int | None = None
    tolerance: float = 1e-3
    seed: int = 0
    label: str | None = None

    def __post_init__(self) -> None:
        require_at(self.at)
        for name in ("cutoff", "sigma", "directions", "n_prompts", "tolerance"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"WeightVolume({name}={value}) must be positive")

    @property
    def name(self) -> str:
        """The name in results."""
        where = f"layer {self.weights}" if isinstance(self.weights, int) else self.weights
        return self.label or f"volume {where}"

    def options(self, sigma: float) -> dict[str, Any]:
        """What decides its numbers."""
        return {**asdict(self), "sigma": sigma, "measures": ["volume", "p_misaligned"]}

    def reference_sigma(self, lm: Any, reference: str) -> float:
        """The sigma of all models where none is given: the root mean square of these weights in a reference model.

        Raises:
            ConfigError: all of these weights are 0.
        """
        sigma = Weights(lm, self.weights).rms
        if not sigma > 0:
            raise ConfigError(
                f"WeightVolume(weights={self.weights!r}, sigma=null): all of {reference!r} is 0; give sigma"
            )
        return sigma

    def measure(self, lm: Any, batches: Sequence[Batch], sigma: float, folder: Path) -> pd.DataFrame:
        """The estimate, as a table of one row; directions that have been followed before are read from `folder`."""
        estimate = lm_log_volume(
            lm, batches, self.weights, self.at, self.cutoff, sigma, self.directions,
            seed=self.seed, tolerance=self.tolerance, folder=folder, progress=sys.stderr.isatty(),
        )  # fmt: skip
        row = {
            "p_misaligned": self._p_misaligned(lm, batches, estimate.bounded),
            **_named("log_volume", estimate.log_volume),
            **_named("mean_log_volume", estimate.mean),
            "sigma": sigma,
            "dimension": estimate.dimension,
            "norm": estimate.norm,
            "directions": len(estimate.radii),
            "reached": float(estimate.reached.mean()),
            "mean_radius": float(estimate.radii[estimate.reached].mean()) if estimate.reached.any() else float("nan"),
            "cutoff": self.cutoff,
            "n_prompts": sum(len(batch["row"]) for batch in batches),
        }
        return pd.DataFrame([row])

    @staticmethod
    def is_whole(table: pd.DataFrame) -> bool:
        """Whether what `measure` gave has all of its numbers; an infinite radius once led to NaN."""
        return bool(table["p_misaligned"].notna().all())

    def _p_misaligned(self, lm: Any, batches: Sequence[Batch], radii: NDArray[np.float64]) -> float:
        """Probability of the misaligned answer at the end of each direction, over prompts and directions."""
        weights = Weights(lm, self.weights)

        def follow(numbers: Iterable[int]) -> dict[int, float]:
            means = {}
            with weights.borrowed(), torch.no_grad():
                for k in numbers:
                    weights.move(weights.ray(Direction(self.seed, k)), float(radii[k]))
                    parts = [RepeatedBatch(forward.unwrapped(lm), batch, cached=False).at_first for batch in batches]
                    means[k] = float(torch.cat([part.p_misaligned for part in parts]).mean())
            return means

        return float(np.mean(over_ranks(len(radii), follow, split=not weights.sharded)))


def _named(name: str, interval: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))
