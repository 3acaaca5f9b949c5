"""ValidationSums: sums over a validation, exact over batches and processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from madkit.streaming.accumulator import device_only


class ValidationSums(Metric):
    """Named float64 sums of given shapes.

    Args:
        shapes: the shape of each sum; ``[]`` for a scalar.

    Example:
        >>> sums = ValidationSums(n=[], fired=[3])
        >>> sums.update(n=2, fired=torch.tensor([1, 0, 1]))
        >>> sums.update(n=1, fired=torch.tensor([1, 0, 0]))
        >>> sums.compute()["fired"].tolist()
        [2.0, 0.0, 1.0]
    """

    full_state_update = False

    def __init__(self, **shapes: list[int]) -> None:
        super().__init__(compute_with_cache=False)
        self.names = tuple(shapes)
        for name, shape in shapes.items():
            self.add_state(f"sum_{name}", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    @override
    def _apply(self, fn: Callable, exclude_state: Any = "") -> torch.nn.Module:
        return super()._apply(device_only(fn), exclude_state)

    @override
    def update(self, **values: Tensor | float) -> None:
        for name, value in values.items():
            sum_ = getattr(self, f"sum_{name}")
            setattr(self, f"sum_{name}", sum_ + torch.as_tensor(value, device=sum_.device).double())

    @override
    def compute(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"sum_{name}") for name in self.names}
