"""Mean and covariance of rows that stream in, exact however they are split up."""

from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor

from madkit.errors import DataError
from madkit.scores.pool import appended, canonical
from madkit.scores.state import Accumulator, bounded


class Spectrum(NamedTuple):
    """Eigenvalues of a covariance above rounding, descending (r,), and their unit eigenvectors as rows (r, d)."""

    variances: Tensor
    directions: Tensor


class Statistics:
    """Mean and covariance of n rows, float64; what is dear is computed once, when first asked for.

    Of fewer rows than features the rows themselves are kept: their n by n products hold all there is to know
    of the d by d covariance.

    Args:
        n: number of rows.
        mean: (d,).
        centred: (n, d), the rows minus their mean; or None.
        m2: (d, d) sum of centred products, where there is no `centred`.
        fourth: scalar, sum of the fourth powers of the centred rows' norms.
    """

    def __init__(self, n: int, mean: Tensor, centred: Tensor | None, m2: Tensor | None, fourth: Tensor) -> None:
        self.n, self.mean, self.fourth = n, mean, fourth
        self._centred, self._m2 = centred, m2

    def varied(self, score: str) -> "Statistics":
        """These statistics, if there are two rows or more that are not all equal.

        Raises:
            DataError: there is no covariance.
        """
        if self.n < 2 or not self.diagonal.any():
            raise DataError(f"{score} has n={self.n} rows without variance: give two different rows or more")
        return self

    @cached_property
    def covariance(self) -> Tensor:
        """The unbiased covariance (d, d)."""
        m2 = self._m2 if self._centred is None else self._centred.T @ self._centred
        return cast(Tensor, m2) / (self.n - 1)

    @cached_property
    def _products(self) -> Tensor:
        """A matrix with the covariance's non-zero eigenvalues: the covariance, or that of rows with rows."""
        return self.covariance if self._centred is None else self._centred @ self._centred.T / (self.n - 1)

    @cached_property
    def diagonal(self) -> Tensor:
        """The variance of each feature (d,)."""
        if self._centred is None:
            return self.covariance.diagonal().clone()
        return self._centred.square().sum(0) / (self.n - 1)

    @cached_property
    def trace(self) -> Tensor:
        """Sum of all variances, scalar."""
        return self.diagonal.sum()

    @cached_property
    def squared(self) -> Tensor:
        """Sum of squares of the covariance's elements, scalar."""
        return self._products.square().sum()

    @cached_property
    def spectrum(self) -> Spectrum:
        """The directions in which the rows vary by more than rounding."""
        variances, vectors = torch.linalg.eigh(self._products)
        variances, vectors = variances.flip(0), vectors.flip(1)
        kept = variances > len(variances) * torch.finfo(torch.float64).eps * variances[0]
        variances, directions = variances[kept], vectors[:, kept].T
        if self._centred is not None:
            directions = directions @ self._centred
            directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        return Spectrum(variances, directions.contiguous())

    def within(self, factor: Tensor) -> Tensor:
        """The covariance (r, r) of the rows times `factor`, (d, r)."""
        if self._centred is None:
            return factor.T @ self.covariance @ factor
        turned = self._centred @ factor
        return turned.T @ turned / (self.n - 1)


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

    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d) float64."""
        n, d = x.shape
        if not n:
            return
        self.width.fill_(d)
        if self.n == self.kept and self.n + n <= d:
            self.rows = appended(self.rows, int(self.n), x)
            self.kept += n
            self.n += n
        else:
            self._sum_up(x[0])
            self._add(x)

    def absorb(self, *parts: Tensor) -> None:
        """See the base class."""
        n, kept, rows, origin, mean, *sums = parts
        if kept:
            self.update(rows[:kept])
        elif n:
            self.width.fill_(len(origin))
            self._sum_up(origin)
            self._merge(n, mean + (origin - self.origin), *sums)

    def result(self) -> Statistics:
        """See the base class."""
        if self.kept:
            # In an order of their own and relative to one of them: constant features stay exactly so.
            rows = canonical(self.rows[: int(self.kept)])
            shifted = rows - rows[0]
            mean = shifted.mean(0)
            centred = shifted - mean
            fourth = bounded(centred.square().sum(1).square().sum())
            return Statistics(int(self.n), rows[0] + mean, centred, None, fourth)
        bounded(self.fourth)
        return Statistics(int(self.n), self.origin + self.mean, None, (self.m2 + self.m2.T) / 2, self.fourth.clone())

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
        self._merge(n, mean, centred.T @ centred, norms @ centred, norms.square().sum())

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
