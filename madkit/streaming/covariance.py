"""Mean and covariance of rows, and the directions in which they vary."""

from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor

from madkit.errors import DataError
from madkit.streaming.accumulator import bounded

#: Rows of a product at a time: enough to keep a processor busy, few enough to leave out nearly half of the work.
BLOCK = 512


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
        m2 = self._m2 if self._centred is None else products(self._centred.T)
        return cast(Tensor, m2) / (self.n - 1)

    @cached_property
    def _products(self) -> Tensor:
        """A matrix with the covariance's non-zero eigenvalues: the covariance, or that of rows with rows."""
        return self.covariance if self._centred is None else products(self._centred) / (self.n - 1)

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
        known = vars(self).get("covariance")
        return (self._products if known is None else known).square().sum()

    @cached_property
    def spectrum(self) -> Spectrum:
        """The directions in which the rows vary by more than rounding."""
        variances, vectors = torch.linalg.eigh(self._products)
        variances, vectors = variances.flip(0), vectors.flip(1)
        kept = int((variances > len(variances) * torch.finfo(torch.float64).eps * variances[0]).sum())
        variances, directions = variances[:kept], vectors[:, :kept].T
        if self._centred is not None:
            directions = directions @ self._centred
            directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        return Spectrum(variances, directions.contiguous())

    def within(self, factor: Tensor) -> Tensor:
        """The covariance (r, r) of the rows times `factor`, (d, r)."""
        if self._centred is None:
            return factor.T @ self.covariance @ factor
        return products((self._centred @ factor).T) / (self.n - 1)


def statistics_of(rows: Tensor) -> Statistics:
    """The statistics of rows (n, d) float64, n at least 1, in the order they have.

    Raises:
        DataError: the rows are so large that sums of their squares overflow.
    """
    # Relative to one of them: constant features stay exactly so.
    shifted = rows - rows[0]
    mean = shifted.mean(0)
    centred = shifted - mean
    fourth = bounded(centred.square().sum(1).square().sum())
    few = len(rows) <= rows.shape[1]
    return Statistics(len(rows), rows[0] + mean, centred if few else None, None if few else products(centred.T), fourth)


def products(rows: Tensor) -> Tensor:
    """Products (n, n) of rows (n, d) with each other.

    Only one of the two equal halves is multiplied, `BLOCK` rows at a time, where a general product does both.
    """
    found = rows.new_empty(len(rows), len(rows))
    for start in range(0, len(rows), BLOCK):
        block = found[start : start + BLOCK, : start + BLOCK]
        torch.mm(rows[start : start + BLOCK], rows[: start + BLOCK].T, out=block)
        found[:start, start : start + BLOCK] = block[:, :start].T
    return found
