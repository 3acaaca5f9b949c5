"""Sums over a validation, exact over batches and processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from madkit.streaming.accumulator import device_only


class Totals(Metric):
    """Named float64 sums of given shapes.

    Example:
        >>> totals = Totals(n=[], fired=[3])
        >>> totals.update(n=2, fired=torch.tensor([1, 0, 1]))
        >>> totals.update(n=1, fired=torch.tensor([1, 0, 0]))
        >>> totals.compute()["fired"].tolist()
        [2.0, 0.0, 1.0]
    """

    full_state_update = False

    def __init__(self, **shapes: list[int]) -> None:
        super().__init__(compute_with_cache=False)
        self.names = tuple(shapes)
        for name, shape in shapes.items():
            self.add_state(f"total_{name}", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable, exclude_state: Any = "") -> torch.nn.Module:
        return super()._apply(device_only(fn), exclude_state)

    def update(self, **values: Tensor | float) -> None:
        """Add to the sums."""
        for name, value in values.items():
            total = getattr(self, f"total_{name}")
            setattr(self, f"total_{name}", total + torch.as_tensor(value, device=total.device).double())

    def compute(self) -> dict[str, Tensor]:
        """The sums of all processes by name."""
        return {name: getattr(self, f"total_{name}") for name in self.names}
