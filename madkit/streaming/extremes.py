"""The smallest and the largest value of each feature."""

from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from madkit.streaming.accumulator import Accumulator


class Range(NamedTuple):
    """Of n rows: `low` (d,) and `high` (d,), the smallest and largest value of each feature, float64."""

    n: int
    low: Tensor
    high: Tensor


class Extremes(Accumulator):
    """Count, smallest and largest value of each feature."""

    parts = ("n", "low", "high")
    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in self.parts[1:]:
            self.add_state(name, torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)

    @override
    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d)."""
        x = x.double()
        if len(x):
            self.absorb(torch.tensor(len(x), device=x.device), x.amin(0), x.amax(0))

    @override
    def absorb(self, *parts: Tensor) -> None:
        n, low, high = parts
        if not n:
            return
        if not self.n:
            self.low, self.high = low.clone(), high.clone()
            self.width.fill_(len(low))
        else:
            self.low, self.high = self.low.minimum(low), self.high.maximum(high)
        self.n += n

    @override
    def result(self) -> Range:
        return Range(int(self.n), self.low, self.high)
