"""Words about how two columns of a scatter figure go together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from madkit.statistics.correlation import pearson, spearman
from madkit.statistics.interval import Interval

_LEAST = 3  # with two points every correlation is 1 or -1


def correlation_lines(x: ArrayLike, y: ArrayLike, groups: Sequence[object] | None = None) -> str:
    """Number of points, and Spearman's and Pearson's correlation with their 95% intervals, in two lines.

    Args:
        x: (n,) finite numbers.
        y: (n,) the same.
        groups: (n,) what each point belongs to, if points are not independent.

    Example:
        >>> correlation_lines([1, 2], [3, 4])
        'n = 2: too few points for a correlation'
        >>> correlation_lines([1, 1, 1], [3, 4, 5])
        'n = 3: no correlation, one axis is constant'
    """
    columns = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = len(columns[0])
    if n < _LEAST:
        return f"n = {n}: too few points for a correlation"
    if any(np.all(column == column[0]) for column in columns):
        return f"n = {n}: no correlation, one axis is constant"
    rank, line = spearman(*columns, groups=groups), pearson(*columns, groups=groups)
    return f"n = {n}, Spearman {between(rank)}\nPearson {between(line)}"


def between(number: Interval) -> str:
    """A statistic with its interval, to two digits.

    Example:
        >>> between(Interval(0.5, 0.25, 0.75))
        '0.50 [0.25, 0.75]'
    """
    return f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"
