"""The interval of R^2, which holds 0 where nothing is explained."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clusters import id_codes
from madkit.statistics.distributions import t_quantile
from madkit.statistics.interval import Z_95, Interval


def explained_interval(
    value: float,
    fitted: NDArray[np.float64],
    y: NDArray[np.float64],
    groups: Sequence[object] | None = None,
) -> Interval:
    """R^2 of a line, or of another curve with a level and a slope, with its 95% interval.

    A percentile bootstrap of a square is never 0, and so no interval of it holds 0. This one is Fisher's (1921) of the
    correlation r of fitted and observed numbers, atanh(r) -+ 1.96 / sqrt(n - 3), squared: from 0 where it holds 0. For
    rows in groups its variance is multiplied by the design effect, how many times larger the sum of squares of atanh's
    influence is over groups than over rows (at least 1), and Student's t with one degree less than groups takes the
    place of the normal.

    In simulations with normal columns and a true R^2 of 0, 0.25 and 0.81 it covers the truth in 93 to 97% of the
    samples of 9 to 54 rows, and in 93 to 99% of those of 9 or 18 groups of 2 to 6 rows, however alike the rows of a
    group are.

    Args:
        value: R^2.
        fitted: (n,) the line or curve at each row, not constant; n at least 3.
        y: (n,) what it explains, not constant.
        groups: (n,) what each row belongs to. None: rows are independent.

    Raises:
        DataError: there is not one group per row, or one is missing.
    """
    n = len(y)
    codes = np.arange(n) if groups is None else id_codes(groups, n, "groups")
    count = int(codes.max()) + 1
    r = min(float(np.sqrt(max(value, 0.0))), 1 - 1e-12)
    low, high = 0.0, 1.0
    if n > 3 and count > 2:
        effect, quantile = 1.0, Z_95
        if count < n:
            a, b = ((column - column.mean()) / column.std() for column in (fitted, y))
            own = float(a @ b) / n
            influence = a * b - own * (a**2 + b**2) / 2
            alone, together = float(influence @ influence), float((np.bincount(codes, influence) ** 2).sum())
            effect = max(1.0, count / (count - 1) * together / alone) if alone > 0 else 1.0
            quantile = float(t_quantile(0.975, count - 1))
        half = quantile * np.sqrt(effect / (n - 3))
        ends = np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
        low, high = float(max(ends[0], 0.0) ** 2), float(ends[1] ** 2)
    return Interval(value, min(low, value), max(high, value))
