"""Whether two samples of rows are of one distribution, in any of their columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import DataError


class TwoSampleTest(NamedTuple):
    """Of k columns, how far apart two samples are."""

    p_value: float
    """Of all columns together: if both samples are of one distribution, at most a with a probability of at most a."""
    distances: NDArray[np.float64]
    """(k,) the largest difference of the two distribution functions (Kolmogorov and Smirnov)."""
    p_values: NDArray[np.float64]
    """(k,) adjusted: that any of these is at most a has the same probability, however the columns depend."""


def two_sample_test(first: ArrayLike, second: ArrayLike, draws: int = 1999, seed: int = 0) -> TwoSampleTest:
    """A permutation test by the largest of the columns' Kolmogorov-Smirnov distances.

    Exact for any distribution, with ties too, as rows are drawn anew to the two samples and stay whole; and it knows
    how the columns depend, so that many columns which say the same cost little (Westfall and Young 1993, single-step
    maxT).

    Args:
        first: (m, k) finite numbers.
        second: (n, k).
        draws: how often the rows are drawn anew; a p-value is at least 1 / (1 + draws).
        seed: of the draws.

    Raises:
        DataError: other shapes, NaN, or a sample without rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one, other = rng.normal(size=(200, 3)), rng.normal([0, 0, 1], 1, size=(100, 3))
        >>> test = two_sample_test(one, other)
        >>> test.p_value, (test.p_values < 0.01).tolist()
        (0.0005, [False, False, True])
    """
    x, y = float_array(first, "first"), float_array(second, "second")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y) or not x.shape[1]:
        raise DataError(
            f"first of shape {x.shape} and second of shape {y.shape}: give (m, k) and (n, k), some rows each"
        )
    pooled = np.concatenate([x, y])
    if not np.isfinite(pooled).all():
        raise DataError("first or second has NaN or infinite values: mend the rows or leave them out")
    order = np.argsort(pooled, axis=0, kind="stable")
    ordered = np.take_along_axis(pooled, order, axis=0)
    # Where the distribution functions may be compared: at the last of equal values.
    last = np.concatenate([ordered[1:] > ordered[:-1], np.ones((1, pooled.shape[1]), dtype=bool)])
    of_second = np.arange(len(pooled)) >= len(x)
    distances = _distances(of_second, order, last)
    rng = np.random.default_rng(seed)
    largest = np.array([_distances(rng.permutation(of_second), order, last).max() for _ in range(draws)])
    # But for rounding, equal distances are equal.
    above = (largest[:, None] >= distances[None] - 1e-12).sum(0)
    p_values = (1 + above) / (1 + draws)
    return TwoSampleTest(float(p_values.min()), distances, p_values)


def _distances(of_second: NDArray[np.bool_], order: NDArray[np.int64], last: NDArray[np.bool_]) -> NDArray[np.float64]:
    second = of_second[order]
    n = int(of_second.sum())
    steps = np.where(second, 1 / n, -1 / (len(of_second) - n))
    return (np.abs(np.cumsum(steps, axis=0)) * last).max(0)
