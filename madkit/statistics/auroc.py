"""How well scores separate two classes, and how sure that is."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t

from madkit.errors import DataError

Z = float(norm.ppf(0.975))
Number = TypeVar("Number", float, np.ndarray)


class Interval(NamedTuple):
    """A number with its 95% confidence interval."""

    value: float
    low: float
    high: float


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
    rows, anomalous = checked([scores], labels)
    (value,), covariance = delong(rows, anomalous)
    variance = covariance[0, 0]
    n_anomalous = int(anomalous.sum())
    n_normal = len(anomalous) - n_anomalous
    if not variance > 0 or not 0 < value < 1:
        return newcombe(value, n_anomalous, n_normal)
    half = Z * np.sqrt(variance) / (value * (1 - value))
    return Interval(float(value), float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def mean_interval(aurocs: Sequence[Interval], *, draws: int = 10_000, seed: int = 0) -> Interval:
    """Average AUROC over datasets, with an interval that covers other datasets of the kind too.

    Hierarchical bootstrap: datasets are drawn with replacement, and each drawn AUROC is jittered by a normal with
    the standard error that its own interval implies. The datasets' AUROCs hold that noise already, so they are
    first drawn together to the spread that is left without it. As the spread is known from few datasets, the
    interval is then widened as Student's t with one degree less than datasets is (Hartung and Knapp 2001). Of
    one dataset, it is that dataset's own interval.

    In simulations with 10 datasets of 200 prompts each and a mean around 0.76, it covers the mean in 98% of the
    samples if the datasets are alike, and in 96, 95 and 93% if their AUROCs have a standard deviation of 0.04, 0.11
    and 0.20; with 5 datasets in 91 to 99%. Where most are near 1 and some are not, the distribution is so skewed
    that it covers 88% only (85% with 5). With two or three datasets it is wide, as so few say little of others.

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
    n = len(table)
    if n == 1:
        return Interval(*table[0].tolist())
    values, errors = table[:, 0], (table[:, 2] - table[:, 1]) / (2 * Z)
    mean, variance, noise = float(values.mean()), float(values.var()), float((errors**2).mean())
    # Drawing n of n values has their variance with 1/n, which is (n - 1)/n of what is to be estimated.
    between = max(0.0, variance * n / (n - 1) - noise)
    scale = np.sqrt(between / variance) if between > 0 else 0.0
    generator = np.random.default_rng(seed)
    drawn = generator.integers(n, size=(draws, n))
    jitter = generator.standard_normal(drawn.shape) * errors[drawn]
    shifts = (scale * (values - mean)[drawn] + jitter).mean(1)
    low, high = mean + np.quantile(shifts, [0.025, 0.975]) * (t.ppf(0.975, n - 1) / Z)
    return Interval(mean, float(np.clip(low, 0, mean)), float(np.clip(high, mean, 1)))


def checked(scores: list[ArrayLike], labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
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


def delong(rows: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def hanley_mcneil(value: Number, m: int, n: int) -> Number:
    """Variance of an AUROC under exponential scores with both class sizes averaged (Newcombe 2006)."""
    others = (m + n) / 2 - 1
    return value * (1 - value) * (1 + others * ((1 - value) / (2 - value) + value / (1 + value))) / (m * n)


def newcombe(value: float, m: int, n: int) -> Interval:
    """The AUROCs that lie within z of their own standard errors from `value`."""

    def excess(guess: float) -> float:
        return abs(guess - value) - Z * float(np.sqrt(hanley_mcneil(guess, m, n)))

    # At 0 and 1 the standard error is zero too: start the search just inside.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, 1 - 1e-9))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1e-9), 1)
    return Interval(float(value), float(low), float(high))
