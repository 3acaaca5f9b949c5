"""Which of several detectors differ over datasets: average ranks and their critical difference."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import float_array
from madkit.errors import DataError


class RankComparison(NamedTuple):
    """Average ranks of k detectors over n datasets, 1 the best."""

    ranks: np.ndarray
    """(k,) average ranks; ties share theirs."""
    critical_difference: float
    """Detectors whose average ranks differ by less cannot be told apart at the 5% level (Nemenyi)."""
    p_value: float
    """Of Friedman's test that all detectors are equally good."""
    n: int
    """Number of datasets."""


def compare_ranks(values: ArrayLike, level: float = 0.05) -> RankComparison:
    """Friedman's test and Nemenyi's critical difference (Demsar 2006).

    Args:
        values: (n, k) a number per dataset and detector, higher = better; n at least 2 and k at least 2.
        level: of the pairwise comparisons, all together.

    Raises:
        DataError: fewer than 2 datasets or detectors, or NaN.

    Example:
        >>> comparison = compare_ranks([[0.9, 0.8], [0.7, 0.6], [0.8, 0.5]])
        >>> comparison.ranks.tolist(), comparison.n
        ([1.0, 2.0], 3)
    """
    # Here and not above: importing it takes longer than most of what needs no ranks.
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = float_array(values, "values")
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise DataError(f"values has shape {table.shape}: give (datasets, detectors), two or more of each, all finite")
    n, k = table.shape
    ranks = rankdata(-table, axis=1)
    q = float(studentized_range.ppf(1 - level, k, np.inf)) / np.sqrt(2)
    if (ranks == ranks[:, :1]).all():
        p_value = 1.0  # all tied everywhere: 0/0 in Friedman's statistic
    elif k == 2:
        p_value = _sign_test(ranks)
    else:
        p_value = float(friedmanchisquare(*table.T).pvalue)
    return RankComparison(ranks.mean(0), q * np.sqrt(k * (k + 1) / (6 * n)), p_value, n)


def _sign_test(ranks: np.ndarray) -> float:
    """Friedman's statistic of two detectors is that of the sign test, which scipy's function does not take."""
    from scipy.stats import chi2

    first = int((ranks[:, 0] < ranks[:, 1]).sum())
    decided = int((ranks[:, 0] != ranks[:, 1]).sum())
    return float(chi2.sf((2 * first - decided) ** 2 / decided, 1))


def cliques(ranks: ArrayLike, critical_difference: float) -> list[tuple[float, float]]:
    """Stretches of average ranks, at least two detectors long, within which none differ; none inside another.

    Example:
        >>> cliques([1.0, 1.5, 2.2, 4.0], 1.0)
        [(1.0, 1.5), (1.5, 2.2)]
    """
    ordered = np.sort(float_array(ranks, "ranks"))
    stretches: list[tuple[float, float]] = []
    for start in range(len(ordered)):
        stop = int(np.searchsorted(ordered, ordered[start] + critical_difference, side="left")) - 1
        if stop > start and (not stretches or ordered[stop] > stretches[-1][1]):
            stretches.append((float(ordered[start]), float(ordered[stop])))
    return stretches
