"""How well scores separate two classes, and how sure that is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from madkit.errors import DataError

Z = float(norm.ppf(0.975))


class Interval(NamedTuple):
    """A number with its 95% confidence interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Difference of two AUROCs on the same rows, its 95% interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


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
    rows, anomalous = _checked([scores], labels)
    (value,), covariance = _delong(rows, anomalous)
    variance = covariance[0, 0]
    n_anomalous = int(anomalous.sum())
    n_normal = len(anomalous) - n_anomalous
    if not variance > 0 or not 0 < value < 1:
        return _newcombe(value, n_anomalous, n_normal)
    half = Z * np.sqrt(variance) / (value * (1 - value))
    return Interval(float(value), float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def compare(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike) -> Comparison:
    """Compare two scores of the same rows by the paired DeLong test: AUROC of a minus AUROC of b.

    Scores that order the rows alike differ by exactly zero, with p-value 1. Where the variance is zero
    although the AUROCs differ (one is perfect, the other constant or reversed), it is replaced by the sum of
    the variances that Hanley and McNeil (1982) give for the average AUROC, which is on the safe side.

    Args:
        scores_a: (n,) finite numbers, higher = more anomalous.
        scores_b: (n,) the other score of the same rows, in the same order.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.

    Raises:
        DataError: as in `auroc`.

    Example:
        >>> compare([1, 2, 3, 4], [10, 20, 30, 40], [0, 1, 0, 1])
        Comparison(difference=0.0, low=0.0, high=0.0, p_value=1.0)
    """
    rows, anomalous = _checked([scores_a, scores_b], labels)
    values, covariance = _delong(rows, anomalous)
    difference = float(values[0] - values[1])
    ranks = rankdata(rows, axis=1)
    if np.array_equal(ranks[0], ranks[1]):
        return Comparison(0.0, 0.0, 0.0, 1.0)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    # Below rounding the difference of covariances is noise.
    if not variance > 1e-15:
        n_anomalous = int(anomalous.sum())
        variance = 2 * _hanley_mcneil(float(values.mean()), n_anomalous, len(anomalous) - n_anomalous)
    error = float(np.sqrt(variance))
    low, high = max(-1.0, difference - Z * error), min(1.0, difference + Z * error)
    return Comparison(difference, low, high, float(2 * norm.sf(abs(difference) / error)))


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
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p_values={p.tolist()} must be a list of numbers between 0 and 1: drop the others")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def mean_interval(aurocs: Sequence[Interval], *, draws: int = 10_000, seed: int = 0) -> Interval:
    """Average AUROC over datasets, with an interval that covers other datasets of the kind too.

    Hierarchical bootstrap: datasets are drawn with replacement, and each drawn AUROC is jittered by a normal
    with the spread its own interval implies (below and above the value separately, within 0 and 1).

    Args:
        aurocs: one interval per dataset, as `auroc` gives.
        draws: number of bootstrap draws.
        seed: the same seed gives the same interval.

    Raises:
        DataError: there is no dataset, or a number is NaN.

    Example:
        >>> mean_interval([Interval(0.7, 0.6, 0.8), Interval(0.9, 0.8, 1.0)]).value
        0.8
    """
    table = np.asarray(aurocs, dtype=np.float64).reshape(-1, 3)
    if not len(table) or not np.isfinite(table).all():
        raise DataError(f"aurocs={list(aurocs)!r} must be one finite interval per dataset: give at least one")
    generator = np.random.default_rng(seed)
    value, low, high = table[generator.integers(len(table), size=(draws, len(table)))].transpose(2, 0, 1)
    jitter = generator.standard_normal(value.shape)
    spread = np.where(jitter < 0, value - low, high - value) / Z
    means = np.clip(value + jitter * spread, 0, 1).mean(1)
    mean = float(table[:, 0].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(min(low, mean)), float(max(high, mean)))


def _checked(scores: list[ArrayLike], labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores as (s, n) float64 and labels as (n,) bool."""
    label = np.asarray(labels)
    columns = [np.asarray(column, dtype=np.float64) for column in scores]
    for column in columns:
        if column.ndim != 1 or column.shape != label.shape:
            raise DataError(f"scores of shape {column.shape} and labels of shape {label.shape}: give (n,) both")
        if not np.isfinite(column).all():
            raise DataError(f"{(~np.isfinite(column)).sum()} of {len(column)} scores are NaN or infinite: mend them")
    if not np.isin(label, (0, 1)).all():
        raise DataError(f"labels hold {np.unique(label)[:5].tolist()}: give 0 (normal) and 1 (anomalous)")
    anomalous = label.astype(bool)
    if anomalous.all() or not anomalous.any():
        raise DataError(f"labels have {int(anomalous.sum())} anomalous of {len(label)} rows: AUROC needs both kinds")
    return np.stack(columns), anomalous


def _delong(rows: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _hanley_mcneil(value: float, m: int, n: int) -> float:
    """Variance of an AUROC under exponential scores with both class sizes averaged (Newcombe 2006)."""
    others = (m + n) / 2 - 1
    return value * (1 - value) * (1 + others * ((1 - value) / (2 - value) + value / (1 + value))) / (m * n)


def _newcombe(value: float, m: int, n: int) -> Interval:
    """The AUROCs that lie within z of their own standard errors from `value`."""

    def excess(guess: float) -> float:
        return abs(guess - value) - Z * float(np.sqrt(_hanley_mcneil(guess, m, n)))

    # At 0 and 1 the standard error is zero too: start the search just inside.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, 1 - 1e-9))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1e-9), 1)
    return Interval(float(value), float(low), float(high))
