"""One line about how two columns of a scatter figure go together."""

import numpy as np
from numpy.typing import ArrayLike

from madkit.analysis.correlation import pearson, spearman

_LEAST = 3  # with two points every correlation is 1 or -1


def correlation_line(x: ArrayLike, y: ArrayLike) -> str:
    """Number of points, and Spearman's and Pearson's correlation with their 95% intervals.

    Args:
        x: (n,) finite numbers.
        y: (n,) the same.

    Example:
        >>> correlation_line([1, 2], [3, 4])
        'n = 2: too few points for a correlation'
        >>> correlation_line([1, 1, 1], [3, 4, 5])
        'n = 3: no correlation, one axis is constant'
    """
    columns = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = len(columns[0])
    if n < _LEAST:
        return f"n = {n}: too few points for a correlation"
    if any(np.all(column == column[0]) for column in columns):
        return f"n = {n}: no correlation, one axis is constant"
    parts = [
        f"{name} {r.value:.2f} [{r.low:.2f}, {r.high:.2f}]"
        for name, r in (("Spearman", spearman(*columns)), ("Pearson", pearson(*columns)))
    ]
    return f"n = {n}, " + ", ".join(parts)
