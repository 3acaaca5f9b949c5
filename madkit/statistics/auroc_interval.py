"""Area under the ROC curve, with an interval that has a width even where the sample is perfect."""

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import rankdata

from madkit.statistics.interval import Z_95, Interval
from madkit.statistics.labelled_scores import check_scores

Number = TypeVar("Number", float, np.ndarray)


def auroc(scores: ArrayLike, labels: ArrayLike) -> Interval:
    """Area under the ROC curve: the chance that an anomalous row scores above a normal one, ties half.

    The interval is DeLong's (DeLong, DeLong and Clarke-Pearson 1988; computed from midranks, Sun and Xu 2014)
    on the logit scale, so that it stays within 0 and 1. Where that variance is zero or unknown (perfect
    separation, all scores equal, a class with one row), it is Newcombe's (2006, method 5) score interval,
    which has a width then too: a perfect ten against ten gives [0.80, 1].

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.

    Raises:
        DataError: a score is not finite, a label is not 0 or 1, a class is missing, or the lengths differ.

    Example:
        >>> auroc([1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1]).value
        0.875
    """
    rows, anomalous = check_scores([scores], labels)
    (value,), covariance = delong_covariance(rows, anomalous)
    n_anomalous = int(anomalous.sum())
    return logit_interval(value, covariance[0, 0], n_anomalous, len(anomalous) - n_anomalous)


def logit_interval(value: float, variance: float, m: int, n: int) -> Interval:
    """The normal interval of an AUROC on the logit scale, or Newcombe's where there is none.

    Args:
        value: AUROC, or another mean of comparisons between two classes.
        variance: its variance; zero or NaN where it is unknown.
        m: number of positive rows, which Newcombe's interval needs.
        n: number of negative rows.
    """
    if not variance > 0 or not 0 < value < 1:
        return newcombe_interval(value, m, n)
    half = Z_95 * np.sqrt(variance) / (value * (1 - value))
    return Interval(float(value), float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def delong_covariance(rows: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC (s,) and DeLong covariance (s, s) of scores (s, n); NaN where a class has one row."""
    above, below = rows[:, anomalous], rows[:, ~anomalous]
    m, n = above.shape[1], below.shape[1]
    overall = rankdata(np.concatenate([above, below], axis=1), axis=1)
    # Of each row, the share of the other class that it beats.
    wins = (overall[:, :m] - rankdata(above, axis=1)) / n
    losses = 1 - (overall[:, m:] - rankdata(below, axis=1)) / m
    values = (overall[:, :m].sum(1) / m - (m + 1) / 2) / n
    if min(m, n) < 2:
        return values, np.full((len(rows), len(rows)), np.nan)
    return values, np.atleast_2d(np.cov(wins)) / m + np.atleast_2d(np.cov(losses)) / n


def hanley_mcneil_variance(value: Number, m: int, n: int) -> Number:
    """Variance of an AUROC under exponential scores with both class sizes averaged (Newcombe 2006)."""
    others = (m + n) / 2 - 1
    return value * (1 - value) * (1 + others * ((1 - value) / (2 - value) + value / (1 + value))) / (m * n)


def newcombe_interval(value: float, m: int, n: int) -> Interval:
    """The AUROCs that lie within z of their standard errors from `value`."""

    def excess(guess: float) -> float:
        return abs(guess - value) - Z_95 * float(np.sqrt(hanley_mcneil_variance(guess, m, n)))

    # At 0 and 1 the standard error is zero too: start the search just inside.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, 1 - 1e-9))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1e-9), 1)
    return Interval(float(value), float(low), float(high))
