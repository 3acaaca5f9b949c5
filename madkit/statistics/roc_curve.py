"""The ROC curve, with a band that holds all of the true one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kstwo

from madkit.statistics.labelled_scores import check_scores


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
        n_normal: number of normal rows.
        n_anomalous: number of anomalous rows.
        level: simultaneous confidence.

    Example:
        >>> low, high = roc_band(roc([1.0, 2.0], [0, 1]), 1000, 1000)
        >>> round(float(1 - low.tpr.max()), 3), round(float(low.fpr.min()), 3)
        (0.047, 0.047)
    """
    across, up = (kstwo.ppf(np.sqrt(level), n) for n in (n_normal, n_anomalous))
    # A step function moved to the lower right, and to the upper left.
    low = RocCurve(np.clip(curve.fpr + across, 0, 1), np.clip(curve.tpr - up, 0, 1))
    high = RocCurve(np.clip(curve.fpr - across, 0, 1), np.clip(curve.tpr + up, 0, 1))
    return low, high


def threshold_counts(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal and anomalous rows at or above each threshold, from a threshold that no row reaches to the lowest score.

    Args:
        scores: (n,) finite numbers.
        anomalous: (n,) bool, of both classes.

    Returns:
        False and true positives, (k + 1,) integers each, for k different scores.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true = np.append(0, anomalous[order].cumsum()[last])
    return np.append(0, last + 1) - true, true
