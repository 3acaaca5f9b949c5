"""Averages over datasets: of AUROCs, and of differences between two detectors."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from madkit.errors import DataError
from madkit.statistics.comparison import Comparison
from madkit.statistics.distributions import normal_share, t_quantile
from madkit.statistics.interval import Z_95, Interval

#: What an AUROC, and a share, can be.
SHARES = (0.0, 1.0)


def mean_interval(
    aurocs: Sequence[Interval], *, draws: int = 10_000, seed: int = 0, limits: tuple[float, float] = SHARES
) -> Interval:
    """Average AUROC over datasets, with an interval that covers other datasets of the kind too.

    Hierarchical bootstrap: datasets are drawn with replacement, and each drawn AUROC is jittered by a normal with
    the standard error that its interval implies. The datasets' AUROCs hold that noise already, so they are
    first drawn together to the spread that is left without it. As the spread is estimated from few datasets, the
    interval is then widened as Student's t with one degree less than datasets is (Hartung and Knapp 2001). Of
    one dataset, it is that dataset's interval.

    In simulations with 10 datasets of 200 prompts each and a mean around 0.76, it covers the mean in 98% of the
    samples if the datasets are equal, and in 96, 95 and 93% if their AUROCs have a standard deviation of 0.04, 0.11
    and 0.20; with 5 datasets in 91 to 99%. Where most are near 1 and some are not, the distribution is so skewed
    that it covers 88% only (85% with 5). With two or three datasets it is wide, as so few say little of others.

    Args:
        aurocs: one interval per dataset, as `auroc` gives.
        draws: number of bootstrap draws.
        seed: the same seed gives the same interval.
        limits: what the numbers can be at all, by which the interval is cut off; infinite ends for nats.

    Raises:
        DataError: there is no dataset, or a number is NaN.

    Example:
        >>> mean_interval([Interval(0.7, 0.6, 0.8), Interval(0.9, 0.8, 1.0)]).value
        0.8
    """
    table = np.asarray(aurocs, dtype=np.float64).reshape(-1, 3)
    if not len(table) or not np.isfinite(table).all():
        raise DataError(f"aurocs={list(aurocs)!r} must be one finite interval per dataset: give at least one")
    if len(table) == 1:
        return Interval(*table[0].tolist())
    return _bootstrapped(tuple(map(tuple, table.tolist())), draws, seed, limits)


@lru_cache(maxsize=16384)
def _bootstrapped(
    aurocs: tuple[tuple[float, ...], ...], draws: int, seed: int, limits: tuple[float, float]
) -> Interval:
    """The interval of two datasets or more; remembered, as many tables and figures show the same average."""
    table = np.array(aurocs)
    n = len(table)
    values, errors = table[:, 0], (table[:, 2] - table[:, 1]) / (2 * Z_95)
    mean, variance, noise = float(values.mean()), float(values.var()), float((errors**2).mean())
    # Drawing n of n values has their variance with 1/n, which is (n - 1)/n of what is to be estimated.
    between = max(0.0, variance * n / (n - 1) - noise)
    scale = np.sqrt(between / variance) if between > 0 else 0.0
    drawn, normal = _draws(n, draws, seed)
    jitter = normal * errors[drawn]
    shifts = (scale * (values - mean)[drawn] + jitter).mean(1)
    low, high = mean + np.quantile(shifts, [0.025, 0.975]) * (t_quantile(0.975, n - 1) / Z_95)
    return Interval(mean, float(np.clip(low, limits[0], mean)), float(np.clip(high, mean, limits[1])))


@lru_cache(maxsize=8)
def _draws(n: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of n datasets each draw has, and a standard normal for each of them: (draws, n), never written to."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(n, size=(draws, n))
    return drawn, generator.standard_normal(drawn.shape)


def mean_comparison(comparisons: Sequence[Comparison]) -> Comparison:
    """The mean of differences on several sets of rows, such as datasets, with its interval and p-value.

    The sets are independent, so that the variance of the mean is the sum of theirs over their number squared. It
    speaks of other prompts of the same datasets, not of other datasets.

    Args:
        comparisons: the same two detectors on each dataset.

    Raises:
        DataError: there is none.

    Example:
        >>> mean = mean_comparison([Comparison(0.1, 0.0, 0.2, 0.05), Comparison(0.3, 0.2, 0.4, 0.0)])
        >>> round(mean.difference, 3), round(mean.low, 3), round(mean.high, 3)
        (0.2, 0.129, 0.271)
    """
    if not comparisons:
        raise DataError("comparisons=[] has no dataset: give at least one")
    difference = float(np.mean([each.difference for each in comparisons]))
    # The longer half: the other one may have been cut off at -1 or 1.
    halves = [max(each.high - each.difference, each.difference - each.low) for each in comparisons]
    error = float(np.sqrt(np.sum(np.square(halves)))) / Z_95 / len(comparisons)
    if error == 0:  # the same order on every dataset
        return Comparison(difference, difference, difference, 1.0)
    low, high = max(-1.0, difference - Z_95 * error), min(1.0, difference + Z_95 * error)
    return Comparison(difference, low, high, float(2 * normal_share(-abs(difference) / error)))
