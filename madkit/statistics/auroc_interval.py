"""Area under the ROC curve, with an interval that has a width even where the sample is perfect."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import rankdata, t

from madkit.statistics.clustered_variance import ClusterSums
from madkit.statistics.clusters import Clusters, Codes, cluster_codes
from madkit.statistics.interval import Z_95, Interval
from madkit.statistics.labelled_scores import check_scores
from madkit.statistics.win_rates import WinRates, win_rates

Number = TypeVar("Number", float, np.ndarray)


def auroc(scores: ArrayLike, labels: ArrayLike, *, clusters: Clusters | None = None) -> Interval:
    """Area under the ROC curve: the chance that an anomalous row scores above a normal one, ties half.

    The interval is DeLong's (DeLong, DeLong and Clarke-Pearson 1988; computed from midranks, Sun and Xu 2014)
    on the logit scale, so that it stays within 0 and 1. Where that variance is zero or unknown (perfect
    separation, all scores equal, a class with one row), it is Newcombe's (2006, method 5) score interval,
    which has a width then too: a perfect ten against ten gives [0.80, 1].

    Rows that share a statement (a question under several names and templates) are not independent, and with
    `clusters` the variance is that of Obuchowski (1997), see `madkit.statistics.clustered_variance`, with Student's t
    for its degrees of freedom. Newcombe's interval then counts clusters instead of rows.

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.
        clusters: (n,) what each row belongs to, such as its statement; or several of these in a tuple where groupings
            cross, such as (statements, speakers), the one with most clusters first. None: rows are independent.

    Raises:
        DataError: a score is not finite, a label is not 0 or 1, a class is missing, or the lengths differ.

    Example:
        >>> auroc([1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1]).value
        0.875
    """
    rows, anomalous = check_scores([scores], labels)
    groupings = cluster_codes(clusters, len(anomalous))
    if groupings:
        return clustered_interval(win_rates(rows, anomalous), anomalous, groupings)
    (value,), covariance = delong_covariance(rows, anomalous)
    n_anomalous = int(anomalous.sum())
    return logit_interval(value, covariance[0, 0], n_anomalous, len(anomalous) - n_anomalous)


def clustered_interval(rates: WinRates, anomalous: np.ndarray, groupings: Sequence[Codes]) -> Interval:
    """The interval of the one AUROC of `rates`, whose rows (n,) belong together as the groupings say."""
    variance, freedom = ClusterSums(rates, anomalous, groupings).variance(np.ones((1, 1)))
    sizes = effective_sizes(rates, anomalous, groupings[0])
    return logit_interval(float(rates.values[0]), float(variance[0]), *sizes, quantile=student(freedom[0]))


def effective_sizes(rates: WinRates, anomalous: np.ndarray, codes: Codes) -> tuple[float, float]:
    """How many clusters of one size each class's clusters are worth, (sum of shares)^2 / sum of squares (Kish 1965)."""
    sizes = []
    for kind in (anomalous, ~anomalous):
        share = np.bincount(codes[kind], rates.weight[kind])
        sizes.append(float(share.sum() ** 2 / (share**2).sum()))
    return sizes[0], sizes[1]


def student(freedom: float) -> float:
    """How many standard errors make a 95% interval; of unknown degrees of freedom, as of many."""
    return float(t.ppf(0.975, freedom)) if np.isfinite(freedom) else Z_95


def logit_interval(value: float, variance: float, m: float, n: float, quantile: float = Z_95) -> Interval:
    """The normal interval of an AUROC on the logit scale, or Newcombe's where there is none.

    Args:
        value: AUROC, or another mean of comparisons between two classes.
        variance: its variance; zero or NaN where it is unknown.
        m: number of positive rows, which Newcombe's interval needs.
        n: number of negative rows.
        quantile: how many standard errors to either side.
    """
    if not variance > 1e-18 or not 0 < value < 1:
        return newcombe_interval(value, m, n)
    half = quantile * np.sqrt(variance) / (value * (1 - value))
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


def hanley_mcneil_variance(value: Number, m: float, n: float) -> Number:
    """Variance of an AUROC under exponential scores with both class sizes averaged (Newcombe 2006)."""
    others = (m + n) / 2 - 1
    return value * (1 - value) * (1 + others * ((1 - value) / (2 - value) + value / (1 + value))) / (m * n)


def newcombe_interval(value: float, m: float, n: float) -> Interval:
    """The AUROCs that lie within z of their standard errors from `value`."""

    def excess(guess: float) -> float:
        return abs(guess - value) - Z_95 * float(np.sqrt(hanley_mcneil_variance(guess, m, n)))

    # At 0 and 1 the standard error is zero too: start the search just inside.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, 1 - 1e-9))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1e-9), 1)
    return Interval(float(value), float(low), float(high))
