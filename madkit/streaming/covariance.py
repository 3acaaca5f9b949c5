"""Mean and covariance of rows, and the directions in which they vary."""

import hashlib
from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor

from madkit.errors import DataError
from madkit.streaming.accumulator import require_finite_sums

#: Rows of a product at a time: enough to keep a processor busy, few enough to leave out nearly half of the work.
BLOCK = 512


class Spectrum(NamedTuple):
    """Eigenvalues of a covariance above rounding, descending (r,), and their unit eigenvectors as rows (r, d)."""

    variances: Tensor
    directions: Tensor


class CovarianceStatistics:
    """Mean and covariance of n rows, float64; what is expensive is computed once, when first used.

    Of fewer rows than features the rows themselves are kept: their n by n products hold all that the d by d
    covariance does.

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

    def varied(self, score: str) -> "CovarianceStatistics":
        """These statistics, if there are two rows or more that are not all equal.

        Raises:
            DataError: there is no covariance.
        """
        if self.n < 2 or not self.diagonal.any():
            raise DataError(f"{score} has n={self.n} rows without variance: give two different rows or more")
        return self

    def digest(self) -> tuple[str, bytes]:
        """What tells these statistics from those of other rows, and the device that they are on."""
        told = hashlib.blake2b(str((self.n, self._centred is None)).encode())
        for part in (self.mean, self._m2 if self._centred is None else self._centred):
            told.update(cast(Tensor, part).cpu().numpy().tobytes())
        return str(self.mean.device), told.digest()

    @cached_property
    def covariance(self) -> Tensor:
        """The unbiased covariance (d, d)."""
        m2 = self._m2 if self._centred is None else gram_matrix(self._centred.T)
        return cast(Tensor, m2) / (self.n - 1)

    @cached_property
    def _gram(self) -> Tensor:
        """A matrix with the covariance's non-zero eigenvalues: the covariance, or that of rows with rows."""
        return self.covariance if self._centred is None else gram_matrix(self._centred) / (self.n - 1)

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
        covariance = vars(self).get("covariance")
        return (self._gram if covariance is None else covariance).square().sum()

    @cached_property
    def spectrum(self) -> Spectrum:
        """The directions in which the rows vary by more than rounding."""
        variances, vectors = torch.linalg.eigh(self._gram)
        variances, vectors = variances.flip(0), vectors.flip(1)
        kept = int((variances > len(variances) * torch.finfo(torch.float64).eps * variances[0]).sum())
        variances, directions = variances[:kept], vectors[:, :kept].T
        if self._centred is not None:
            directions = directions @ self._centred
            directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        return Spectrum(variances, directions.contiguous())

    def leading(self, rcond: float) -> Spectrum:
        """The directions whose variance exceeds `rcond` times the largest."""
        variances, directions = self.spectrum
        kept = int((variances > rcond * variances[0]).sum())
        return Spectrum(variances[:kept], directions[:kept])

    def within(self, factor: Tensor) -> Tensor:
        """The covariance (r, r) of the rows times `factor`, (d, r)."""
        if self._centred is None:
            return factor.T @ self.covariance @ factor
        return gram_matrix((self._centred @ factor).T) / (self.n - 1)


def covariance_statistics(rows: Tensor) -> CovarianceStatistics:
    """The statistics of rows (n, d) float64, n at least 1, in the order they have.

    Raises:
        DataError: the rows are so large that sums of their squares overflow.
    """
    # Relative to one of them: constant features stay exactly so.
    shifted = rows - rows[0]
    mean = shifted.mean(0)
    centred = shifted - mean
    fourth = require_finite_sums(centred.square().sum(1).square().sum())
    few = len(rows) <= rows.shape[1]
    return CovarianceStatistics(
        len(rows), rows[0] + mean, centred if few else None, None if few else gram_matrix(centred.T), fourth
    )


def gram_matrix(rows: Tensor) -> Tensor:
    """Products (n, n) of rows (n, d) with each other.

    Only one of the two equal halves is multiplied, `BLOCK` rows at a time, where a general product does both.
    """
    gram = rows.new_empty(len(rows), len(rows))
    for start in range(0, len(rows), BLOCK):
        block = gram[start : start + BLOCK, : start + BLOCK]
        torch.mm(rows[start : start + BLOCK], rows[: start + BLOCK].T, out=block)
        gram[:start, start : start + BLOCK] = block[:, :start].T
    return gram
