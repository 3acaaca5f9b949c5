"""Mean and covariance of rows that stream in, exact however they are split up."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.streaming.accumulator import Accumulator, require_finite_sums
from madkit.streaming.covariance import CovarianceStatistics, covariance_statistics, gram_matrix
from madkit.streaming.pool import append_rows, canonical_order


class Moments(Accumulator):
    """Count, mean and sum of centred products, by the pairwise update of Chan, Golub and LeVeque (1983).

    Up to d rows are kept as they are. Of more only sums are kept: of the centred rows c the products c c', and
    |c|^2 c and |c|^4, which Ledoit-Wolf shrinkage needs and which merge exactly too. Rows are taken relative
    to the first one seen, so that a constant feature has a variance of exactly zero.
    """

    parts = ("n", "kept", "rows", "origin", "mean", "m2", "third", "fourth")
    kept: Tensor
    rows: Tensor
    origin: Tensor
    mean: Tensor
    m2: Tensor
    third: Tensor
    fourth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("kept", torch.zeros((), dtype=torch.int64), dist_reduce_fx=None)
        for name, shape in {
            "rows": [0, 0],
            "origin": [0],
            "mean": [0],
            "m2": [0, 0],
            "third": [0],
            "fourth": [],
        }.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx=None)

    @override
    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d)."""
        x = x.double()
        n, d = x.shape
        if not n:
            return
        self.width.fill_(d)
        if self.n == self.kept and self.n + n <= d:
            self.rows = append_rows(self.rows, int(self.n), x)
            self.kept += n
            self.n += n
        else:
            self._sum_up(x[0])
            self._add(x)

    @override
    def absorb(self, *parts: Tensor) -> None:
        n, kept, rows, origin, mean, *sums = parts
        if kept:
            self.update(rows[:kept])
        elif n:
            self.width.fill_(len(origin))
            self._sum_up(origin)
            self._merge(n, mean + (origin - self.origin), *sums)

    @override
    def result(self) -> CovarianceStatistics:
        if self.kept:
            # Not in the order in which they came, on which no result may depend.
            return covariance_statistics(canonical_order(self.rows[: int(self.kept)]))
        require_finite_sums(self.fourth)
        return CovarianceStatistics(
            int(self.n), self.origin + self.mean, None, (self.m2 + self.m2.T) / 2, self.fourth.clone()
        )

    def _sum_up(self, origin: Tensor) -> None:
        """Make room for sums, relative to `origin` (d,) if there are no rows yet, and move kept rows into them."""
        if len(self.origin):
            return
        rows = self.rows[: int(self.kept)]
        self.origin = (rows[0] if len(rows) else origin).clone()
        d = len(self.origin)
        self.mean, self.third = torch.zeros_like(self.origin), torch.zeros_like(self.origin)
        self.m2 = self.origin.new_zeros(d, d)
        self.rows = self.rows.new_zeros(0, 0)
        self.n.zero_()
        self.kept.zero_()
        if len(rows):
            self._add(rows)

    def _add(self, x: Tensor) -> None:
        x = x - self.origin
        mean = x.mean(0)
        centred = x - mean
        norms = centred.square().sum(1)
        n = x.new_tensor(len(x), dtype=torch.int64)
        self._merge(n, mean, gram_matrix(centred.T), norms @ centred, norms.square().sum())

    def _merge(self, n: Tensor, mean: Tensor, m2: Tensor, third: Tensor, fourth: Tensor) -> None:
        delta = mean - self.mean
        share = n.double() / (self.n + n).double()
        # Both sets of rows are seen from the common mean before they are added.
        here = _recentred(self.n, self.m2, self.third, self.fourth, share * delta)
        there = _recentred(n, m2, third, fourth, (share - 1) * delta)
        self.third, self.fourth = here[0] + there[0], here[1] + there[1]
        self.mean += share * delta
        self.m2 += m2
        self.m2.addr_(self.n.double() * share * delta, delta)
        self.n += n


def _recentred(n: Tensor, m2: Tensor, third: Tensor, fourth: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Sums |c|^2 c and |c|^4 when the centre of n rows moves by `shift` (d,), by expanding |c - shift|."""
    trace, turned, squared = m2.trace(), m2 @ shift, shift @ shift
    moved_third = third - 2 * turned - (trace + n * squared) * shift
    moved_fourth = fourth - 4 * (shift @ third) + 4 * (shift @ turned) + 2 * squared * trace + n * squared**2
    return moved_third, moved_fourth
