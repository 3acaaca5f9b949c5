"""Is one detector better than another on the same rows? Paired tests, of two or of all pairs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from madkit.arrays import float_array
from madkit.errors import DataError
from madkit.statistics.auroc_interval import (
    delong_covariance,
    effective_sizes,
    hanley_mcneil_variance,
    newcombe_interval,
)
from madkit.statistics.clustered_variance import ClusterSums
from madkit.statistics.clusters import Clusters, Codes, cluster_codes
from madkit.statistics.distributions import normal_share, t_quantile, t_tail
from madkit.statistics.interval import Z_95
from madkit.statistics.labelled_scores import check_scores
from madkit.statistics.ranks import ranks
from madkit.statistics.win_rates import win_rates

# Pairs of detectors whose clusters are held at once, times clusters: 32 MiB.
BLOCK = 2**22


class Comparison(NamedTuple):
    """Difference of two AUROCs on the same rows, its 95% interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def turned(self) -> "Comparison":
        """The same test of the second against the first."""
        return Comparison(-self.difference, -self.high, -self.low, self.p_value)


def compare(
    scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, *, clusters: Clusters | None = None
) -> Comparison:
    """Compare two scores of the same rows by the paired DeLong test: AUROC of a minus AUROC of b.

    Scores with the same order of rows differ by exactly zero, with p-value 1. Where the variance is zero
    although the AUROCs differ (one is perfect, the other constant or reversed), it is replaced by the sum of
    the variances that Hanley and McNeil (1982) give for the average AUROC, which is on the safe side. Two
    perfect or two reversed scores with different orders have p-value 1, and the width of one perfect AUROC.

    Args:
        scores_a: (n,) finite numbers, higher = more anomalous.
        scores_b: (n,) the other score of the same rows, in the same order.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.
        clusters: what rows belong together, as in `auroc`: then the variance is the clustered one of Obuchowski
            (1997), and interval and p-value are Student's.

    Raises:
        DataError: as in `auroc`.

    Example:
        >>> compare([1, 2, 3, 4], [10, 20, 30, 40], [0, 1, 0, 1])
        Comparison(difference=0.0, low=0.0, high=0.0, p_value=1.0)
    """
    rows, anomalous = check_scores([scores_a, scores_b], labels)
    columns = _compared(rows, anomalous, cluster_codes(clusters, len(anomalous)))[2:]
    return Comparison(*(float(column[0]) for column in columns))


def compare_all(
    scores: Mapping[str, ArrayLike], labels: ArrayLike, *, clusters: Clusters | None = None
) -> pd.DataFrame:
    """Compare every pair of detectors as `compare` does, with p-values adjusted for their number.

    Args:
        scores: of each detector, by name, the (n,) finite numbers of the same rows, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.
        clusters: what rows belong together, as in `compare`.

    Returns:
        One row per pair, in the order of the detectors: their names `a` and `b`, `difference` (AUROC of a minus
        AUROC of b), `low`, `high` and `p_value` as in `Comparison`, and `p_holm`, the p-value adjusted by `holm`
        over all rows of this table.

    Raises:
        DataError: as in `auroc`, with the detector's name; or there is no detector.

    Example:
        >>> table = compare_all({"a": [1, 2, 3, 4], "b": [4, 2, 3, 1], "c": [1, 2, 3, 5]}, [0, 0, 1, 1])
        >>> table[["a", "b", "difference"]].values.tolist()
        [['a', 'b', 0.75], ['a', 'c', 0.0], ['b', 'c', -0.75]]
    """
    if not scores:
        raise DataError("scores={} has no detector: give at least one")
    rows = []
    for name, column in scores.items():
        try:
            (row,), anomalous = check_scores([column], labels)
        except DataError as error:
            raise DataError(f"scores[{name!r}]: {error}") from None
        rows.append(row)
    names = np.array(list(scores), dtype=object)
    groupings = cluster_codes(clusters, len(anomalous))
    a, b, difference, low, high, p_value = _compared(np.stack(rows), anomalous, groupings)
    columns = {"difference": difference, "low": low, "high": high, "p_value": p_value, "p_holm": holm(p_value)}
    return pd.DataFrame({"a": names[a], "b": names[b], **columns})


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values for their number by the step-down method of Holm (1979).

    Args:
        p_values: (m,) numbers in 0 to 1.

    Returns:
        (m,) adjusted p-values in the same order; those below 0.05 hold together at that level.

    Raises:
        DataError: a value is outside 0 to 1 or NaN.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = float_array(p_values, "p_values")
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p_values={p.tolist()} must be a list of numbers between 0 and 1: drop the others")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _compared(rows: np.ndarray, anomalous: np.ndarray, groupings: Sequence[Codes]) -> tuple[np.ndarray, ...]:
    """All pairs of scores (s, n): the indices a and b, differences, low and high ends, p-values."""
    a, b = np.triu_indices(len(rows), 1)
    m, n = float(anomalous.sum()), float((~anomalous).sum())
    if groupings:
        rates = win_rates(rows, anomalous)
        values = rates.values
        variance, freedom = _pair_variances(ClusterSums(rates, anomalous, groupings), len(rows), a, b)
        m, n = effective_sizes(rates, anomalous, groupings[0])
    else:
        values, covariance = delong_covariance(rows, anomalous)
        variance, freedom = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b], np.full(len(a), np.inf)
    difference = values[a] - values[b]
    # Below rounding the difference of covariances is noise; of one row it is NaN.
    known = variance > 1e-15
    safe = 2 * hanley_mcneil_variance((values[a] + values[b]) / 2, m, n)
    error = np.sqrt(np.where(known, variance, safe))
    # At 0 and 1 Hanley and McNeil's variance is zero as well.
    error = np.where(error > 0, error, (1 - newcombe_interval(1.0, m, n).low) / Z_95)
    freedom = np.where(known, freedom, np.inf)
    quantile = np.where(np.isfinite(freedom), t_quantile(0.975, freedom), Z_95)
    low, high = np.maximum(-1, difference - quantile * error), np.minimum(1, difference + quantile * error)
    size = np.abs(difference) / error
    p_value = 2 * np.where(np.isfinite(freedom), t_tail(size, freedom), normal_share(-size))
    numbers: dict[bytes, int] = {}
    orders = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in ranks(rows)])
    same = orders[a] == orders[b]
    columns = (np.where(same, exact, column) for exact, column in ((0, difference), (0, low), (0, high), (1, p_value)))
    return a, b, *columns


def _pair_variances(sums: ClusterSums, k: int, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of the differences of all pairs of k AUROCs, and their degrees of freedom."""
    parts = [np.empty((2, 0))]
    step = max(1, BLOCK // sum(each.shape[1] for each in sums.sums))
    for first in range(0, len(a), step):
        pairs = slice(first, first + step)
        contrast = np.eye(k)[a[pairs]] - np.eye(k)[b[pairs]]
        parts.append(np.stack(sums.variance(contrast)))
    variance, freedom = np.concatenate(parts, axis=1)
    return variance, freedom
