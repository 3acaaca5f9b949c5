"""The ROC curve, with a band that holds all of the true one."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from madkit.statistics.auroc_interval import effective_sizes
from madkit.statistics.clustered_variance import ClusterSums
from madkit.statistics.clusters import Clusters, cluster_codes
from madkit.statistics.labelled_scores import check_scores
from madkit.statistics.win_rates import win_rates

# Of a row's share of its class: rows that are placed alike differ by no more.
_ROUNDING = 1e-14


class RocCurve(NamedTuple):
    """Corners (k,) of a ROC curve from (0, 0) to (1, 1); ties are straight lines between them."""

    fpr: np.ndarray
    tpr: np.ndarray


def roc(scores: ArrayLike, labels: ArrayLike) -> RocCurve:
    """The ROC curve; corners on a straight line are left out.

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.

    Raises:
        DataError: a score is not finite, a label is not 0 or 1, a class is missing, or the lengths differ.

    Example:
        >>> curve = roc([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1])
        >>> curve.fpr.tolist(), curve.tpr.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    (row,), anomalous = check_scores([scores], labels)
    false, true = threshold_counts(row, anomalous)
    before, after = np.diff(false)[:-1] * np.diff(true)[1:], np.diff(false)[1:] * np.diff(true)[:-1]
    bends = np.concatenate([[True], before != after, [True]])
    return RocCurve(false[bends] / false[-1], true[bends] / true[-1])


def roc_band(curve: RocCurve, n_normal: int, n_anomalous: int, level: float = 0.95) -> tuple[RocCurve, RocCurve]:
    """A lower and an upper ROC curve between which all of the true one lies in `level` of all samples.

    The curve moved by Kolmogorov and Smirnov's distances in both directions, each at the square root of the level,
    as the two classes are independent (Campbell 1994). It is exact in this sense for any scores without ties, and wider
    than a pointwise band.

    Args:
        curve: what `roc` returned.
        n_normal: number of independent normal rows; of rows that belong together, see `independent_rows`.
        n_anomalous: number of independent anomalous rows.
        level: simultaneous confidence.

    Example:
        >>> low, high = roc_band(roc([1.0, 2.0], [0, 1]), 1000, 1000)
        >>> round(float(1 - low.tpr.max()), 3), round(float(low.fpr.min()), 3)
        (0.047, 0.047)
    """
    across, up = (_largest_distance(level, n) for n in (n_normal, n_anomalous))
    # A step function moved to the lower right, and to the upper left.
    low = RocCurve(np.clip(curve.fpr + across, 0, 1), np.clip(curve.tpr - up, 0, 1))
    high = RocCurve(np.clip(curve.fpr - across, 0, 1), np.clip(curve.tpr + up, 0, 1))
    return low, high


@lru_cache(maxsize=4096)
def _largest_distance(level: float, n: int) -> float:
    """Of Kolmogorov and Smirnov's, at the square root of `level`: a search of 30 ms, for few different n."""
    # Here and not above: importing it takes longer than most of what needs no band.
    from scipy.stats import kstwo

    return float(kstwo.ppf(np.sqrt(level), n))


def independent_rows(scores: ArrayLike, labels: ArrayLike, clusters: Clusters) -> tuple[int, int]:
    """How many independent rows the normal and the anomalous rows of a score are worth.

    Of each class the number of rows over the design effect (Kish 1965): how many times larger the variance of the AUROC
    is through this class if its rows belong together than if they do not. At least 2, at most all rows. Where nothing
    shows that (all rows of the class are placed alike, as in a perfect sample, or they are of one cluster), clusters
    count in place of rows, as in `auroc`.

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.
        clusters: what rows belong together, as in `auroc`.

    Returns:
        Of the normal and of the anomalous rows.

    Raises:
        DataError: as in `auroc`.

    Example:
        >>> independent_rows([1, 1, 2, 2, 5, 5, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3])
        (2, 2)
    """
    rows, anomalous = check_scores([scores], labels)
    groupings = cluster_codes(clusters, len(anomalous))
    rates = win_rates(rows, anomalous)
    of_anomalous, of_normal = effective_sizes(rates, anomalous, groupings[0])
    found = []
    for kind, clusters_worth in ((~anomalous, of_normal), (anomalous, of_anomalous)):
        n = int(kind.sum())
        influence = rates._replace(influence=np.where(kind, rates.influence, 0.0))
        alone = float((influence.influence**2).sum()) * n / max(1, n - 1)
        together = float(ClusterSums(influence, anomalous, groupings).variance(np.ones((1, 1))).value[0])
        if np.abs(influence.influence).max() > _ROUNDING * rates.weight[kind].max() and np.isfinite(together):
            worth = n / max(together / alone, 1.0)
        else:
            worth = round(clusters_worth)
        found.append(int(np.clip(worth, min(n, 2), n)))
    return found[0], found[1]


def alarm_threshold(normal: np.ndarray, fpr: float) -> float:
    """The score above which as many normal rows lie as a false positive rate allows: the threshold of `tpr_at_fpr`.

    Rows alarm that are above it. Equal scores alarm together or not at all, so that fewer may do than are allowed.

    Args:
        normal: (n,) finite scores.
        fpr: the highest rate allowed, from 0 to below 1.

    Example:
        >>> alarm_threshold(np.arange(100.0), 0.01), alarm_threshold(np.arange(99.0), 0.01)
        (98.0, 98.0)
    """
    n = len(normal)
    allowed = int((np.arange(n + 1) / n <= fpr).sum()) - 1
    return float(np.sort(normal)[n - 1 - allowed])


def threshold_counts(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal and anomalous rows at or above each threshold, from a threshold that no row reaches to the lowest score.

    Args:
        scores: (n,) finite numbers.
        anomalous: (n,) bool, of both classes.

    Returns:
        False and true positives, (k + 1,) integers each, for k different scores.
    """
    order = np.argsort(-scores, kind="stable")
    return counts_in_order(scores[order], anomalous[order])


def counts_in_order(ranked: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `threshold_counts` gives of scores (n,) that descend already, and their labels (n,)."""
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true = np.append(0, anomalous.cumsum()[last])
    return np.append(0, last + 1) - true, true
