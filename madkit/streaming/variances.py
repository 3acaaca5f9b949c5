"""Mean and variance of each feature, for sparse latents, of which there may be a hundred thousand."""

from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from madkit.streaming.accumulator import Accumulator, require_finite_sums


class FeatureStatistics(NamedTuple):
    """Of n rows, float64: `mean` (d,) and `m2` (d,), the sum of squares about the mean."""

    n: int
    mean: Tensor
    m2: Tensor


class Variances(Accumulator):
    """Count, mean and centred sum of squares of each feature (Chan, Golub and LeVeque 1983).

    Sparse rows stay sparse: a feature's zeros are merged with its other values as one more block of rows. The
    smallest and largest value are kept too, so that a constant feature has a variance of exactly zero.
    """

    sparse = True
    parts = ("n", "mean", "m2", "low", "high")
    mean: Tensor
    m2: Tensor
    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in self.parts[1:]:
            self.add_state(name, torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)

    @override
    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d), dense or coalesced COO."""
        x = x.double()
        if not len(x):
            return
        n = torch.tensor(len(x), device=x.device)
        if x.layout == torch.strided:
            mean = x.mean(0)
            self.absorb(n, mean, (x - mean).square().sum(0), x.amin(0), x.amax(0))
            return
        columns, values = x.indices()[1], x.values()
        zeros = values.new_zeros(x.shape[1])
        count = torch.bincount(columns, minlength=x.shape[1])
        mean = zeros.index_add(0, columns, values) / count.clamp(min=1)
        m2 = zeros.index_add(0, columns, (values - mean[columns]).square())
        share = count.double() / n
        # Where a feature is never zero these extremes are those of its values alone.
        low = torch.where(count == n, torch.inf, zeros).scatter_reduce(0, columns, values, "amin")
        high = torch.where(count == n, -torch.inf, zeros).scatter_reduce(0, columns, values, "amax")
        self.absorb(n, share * mean, m2 + mean.square() * count * (1 - share), low, high)

    @override
    def absorb(self, *parts: Tensor) -> None:
        n, mean, m2, low, high = parts
        if not n:
            return
        if not self.n:
            self.mean, self.m2, self.low, self.high = mean.clone(), m2.clone(), low.clone(), high.clone()
            self.width.fill_(len(mean))
        else:
            delta = mean - self.mean
            share = n.double() / (self.n + n).double()
            self.mean += share * delta
            self.m2 += m2 + self.n.double() * share * delta.square()
            self.low, self.high = self.low.minimum(low), self.high.maximum(high)
        self.n += n

    @override
    def result(self) -> FeatureStatistics:
        require_finite_sums(self.m2)
        constant = self.low == self.high
        return FeatureStatistics(
            int(self.n), torch.where(constant, self.low, self.mean), self.m2.masked_fill(constant, 0.0)
        )
