"""Correlation of two columns, with bootstrap intervals over their rows, and R^2."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import float_array
from madkit.errors import DataError
from madkit.statistics.bootstrap import grouped_statistic, percentile_interval, resampled_statistic
from madkit.statistics.explained_variance import explained_interval
from madkit.statistics.interval import Interval
from madkit.statistics.ranks import ranks


def pearson(
    x: ArrayLike, y: ArrayLike, *, groups: Sequence[object] | None = None, draws: int = 2000, seed: int = 0
) -> Interval:
    """Pearson's correlation with a 95% percentile bootstrap interval.

    Args:
        x: (n,) finite numbers, n at least 3.
        y: (n,) the same.
        groups: (n,) what each row belongs to, such as its model and dataset. Rows of a group are drawn together,
            as those that depend on one another say less than as many that do not. A single group says nothing of
            others: the interval is -1 to 1.
        draws: number of bootstrap draws; those in which a column is constant are left out.
        seed: the same seed gives the same interval.

    Raises:
        DataError: fewer than 3 rows, a constant column, NaN, lengths that differ, or a group that is missing.

    Example:
        >>> pearson([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]).value
        1.0
    """
    return _bootstrapped(x, y, groups, _pearson, draws, seed)


def spearman(
    x: ArrayLike, y: ArrayLike, *, groups: Sequence[object] | None = None, draws: int = 2000, seed: int = 0
) -> Interval:
    """Spearman's rank correlation, ties given their midrank. Arguments and errors are those of `pearson`.

    Example:
        >>> spearman([1.0, 2.0, 3.0, 4.0], [1.0, 10.0, 100.0, 1000.0]).value
        1.0
    """
    return _bootstrapped(x, y, groups, _spearman, draws, seed)


def r_squared(x: ArrayLike, y: ArrayLike, *, groups: Sequence[object] | None = None) -> Interval:
    """Share of the variance of y that a line in x explains, with the interval of `explained_interval`.

    Args:
        x: (n,) finite numbers, n at least 3.
        y: (n,) the same.
        groups: (n,) what each row belongs to, such as its dataset. None: rows are independent.

    Raises:
        DataError: as in `pearson`.

    Example:
        >>> round(r_squared([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 1.0, 0.0]).low, 3)
        0.0
    """
    rows = _checked(x, y)
    return explained_interval(float(_pearson(rows[None])[0] ** 2), rows[:, 0], rows[:, 1], groups)


def _pearson(rows: np.ndarray) -> np.ndarray:
    """Correlation of the two columns of rows (b, n, 2) -> (b,); NaN where a column is constant."""
    # Relative to the first row, a constant column is exactly zero.
    centred = rows - rows[:, :1]
    centred = centred - centred.mean(1, keepdims=True)
    norms = np.sqrt((centred**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / norms[:, None]
    return np.clip((unit[..., 0] * unit[..., 1]).sum(1), -1, 1)


def _spearman(rows: np.ndarray) -> np.ndarray:
    return _pearson(ranks(rows.swapaxes(1, 2)).swapaxes(1, 2))


def _bootstrapped(
    x: ArrayLike,
    y: ArrayLike,
    groups: Sequence[object] | None,
    function: Callable[[np.ndarray], np.ndarray],
    draws: int,
    seed: int,
) -> Interval:
    rows = _checked(x, y)
    generator = np.random.default_rng(seed)
    if groups is None:
        samples = resampled_statistic(rows, function, draws, generator)
    else:
        samples = grouped_statistic(rows, function, groups, draws, generator)
    value = float(function(rows[None])[0])
    # Of a single group, and where a column is constant in all draws, nothing is known.
    return Interval(value, -1.0, 1.0) if np.isnan(samples).all() else percentile_interval(value, samples)


def _checked(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """The two columns as rows (n, 2)."""
    columns = [float_array(x, "x"), float_array(y, "y")]
    if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
        raise DataError(f"x and y have shapes {columns[0].shape} and {columns[1].shape}: give (n,) both")
    rows = np.stack(columns, axis=1)
    if len(rows) < 3 or not np.isfinite(rows).all():
        raise DataError(f"x and y have n={len(rows)} rows: give at least 3, all finite")
    if (rows == rows[0]).all(0).any():
        raise DataError("x or y is constant, so that its correlation is 0/0: give columns that vary")
    return rows
