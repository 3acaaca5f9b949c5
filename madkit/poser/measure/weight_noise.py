"""Gaussian noise on weights, under which a model that holds back may do better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
import torch

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.poser.measure.answer_tables import baseline_table
from madkit.poser.measure.repeated_batch import RepeatedBatch
from madkit.poser.measure.scenario_batches import Batch
from madkit.volume import Weights
from madkit.volume.weight_space.direction import Direction


@dataclass
class WeightNoise:
    """Zero-mean Gaussian noise on weights (Tice et al., arXiv 2412.01784).

    Noise makes a model that does its best worse. One that underperforms on purpose can gain: what holds it back breaks
    before what it knows does. All models get the same noise, in units of the root mean square of their weights. An
    adapter counts as a part of the weights that it is added to.

    Args:
        weights: ``all``, ``lora``, a layer's number, or a regular expression for names.
        sizes: standard deviations of the noise, as shares of the weights' root mean square, one measurement each.
        draws: how often the noise is drawn anew.
        n_prompts: how many of the set's prompts, the first ones; null for all.
        seed: which noise.
        label: the name in results; null for `weight noise`.

    Raises:
        ConfigError: an argument is out of range.
    """

    weights: str | int = "all"
    sizes: list[float] = field(default_factory=lambda: [0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
    draws: int = 5
    n_prompts: int | None = None
    seed: int = 0
    label: str | None = None

    def __post_init__(self) -> None:
        positive = all(0 < size < float("inf") for size in self.sizes)
        if not self.sizes or len(set(self.sizes)) < len(self.sizes) or not positive:
            raise ConfigError(f"WeightNoise(sizes={self.sizes}) must be different positive numbers, at least one")
        for name in ("draws", "n_prompts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"WeightNoise({name}={value}) must be at least 1")

    @property
    def name(self) -> str:
        """The name in results."""
        return self.label or "weight noise"

    @property
    def options(self) -> dict[str, Any]:
        """What decides its numbers."""
        return asdict(self)

    def measure(self, lm: Any, batches: Sequence[Batch]) -> list[pd.DataFrame]:
        """The answers of a model to this process' batches, under every draw and size.

        Returns:
            Tables of row, kl, p_benign, p_misaligned, size and draw.
        """
        weights = Weights(lm, self.weights)
        repeated = [RepeatedBatch(forward.unwrapped(lm), batch, cached=False) for batch in batches]
        tables = []
        with weights.borrowed(), torch.no_grad():
            for draw in range(self.draws):
                ray = weights.ray(Direction(self.seed, draw))
                for size in self.sizes:
                    # A ray's unit is its length: this makes the standard deviation that of the noise.
                    weights.move(ray, size * weights.rms * ray.length * ray.stretch)
                    tables += [baseline_table(one).assign(size=size, draw=draw) for one in repeated]
        return tables
