"""Runs of several seeds on several datasets: whose the spread is, and means and differences that know it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from madkit.errors import DataError
from madkit.statistics.comparison import Comparison
from madkit.statistics.dataset_means import SHARES, mean_comparison, mean_interval
from madkit.statistics.distributions import t_quantile, t_tail
from madkit.statistics.interval import Z_95, Interval


class VarianceComponents(NamedTuple):
    """The variance of the number of one run, in three parts; NaN where there is nothing to estimate one from."""

    datasets: float
    """Between datasets: what is left if each had endless seeds and prompts."""
    seeds: float
    """Between the seeds of a dataset: what is left if each had endless prompts."""
    sampling: float
    """Of the prompts that a run asks."""

    @property
    def seed_share(self) -> float:
        """How much of the whole variance is between seeds, 0 to 1; 0 where there is no variance at all."""
        whole = sum(self)
        return self.seeds / whole if whole else 0.0


def variance_components(runs: Sequence[Sequence[Interval]]) -> VarianceComponents:
    """Split the spread of runs, where seeds are nested in datasets, by the method of moments.

    A run's number is taken to be mean + dataset + seed within the dataset + noise, all independent. The noise of a run
    has the standard error that its interval implies. The mean square between the seeds of a dataset (pooled over
    datasets) is the variance of seeds and noise; the variance of the datasets' means is that of datasets and what is
    left of the other two in a mean over seeds. Estimates below zero are zero (Searle, Casella and McCulloch 1992,
    chapter 3).

    Args:
        runs: for each dataset one interval per seed, in any order.

    Raises:
        DataError: a dataset has no run, or a number is NaN.

    Example:
        >>> exact = lambda *values: [Interval(v, v, v) for v in values]
        >>> parts = variance_components([exact(0.6, 0.8), exact(0.8, 1.0)])
        >>> [round(part, 4) for part in parts]
        [0.01, 0.02, 0.0]
    """
    values, errors = _values_and_errors(runs)
    counts = np.array([len(each) for each in values])
    sampling = np.array([np.mean(np.square(each)) for each in errors])
    freedom = float((counts - 1).sum())
    if not freedom:
        seeds = np.nan
    else:
        within = sum(float(np.square(each - each.mean()).sum()) for each in values) / freedom
        seeds = max(0.0, within - float(((counts - 1) * sampling).sum()) / freedom)
    if len(values) < 2:
        return VarianceComponents(np.nan, seeds, float(sampling.mean()))
    means = np.array([each.mean() for each in values])
    of_means = float(((np.nan_to_num(seeds) + sampling) / counts).mean())
    return VarianceComponents(max(0.0, float(means.var(ddof=1)) - of_means), seeds, float(sampling.mean()))


def nested_mean_interval(
    runs: Sequence[Sequence[Interval]],
    *,
    draws: int = 10_000,
    seed: int = 0,
    limits: tuple[float, float] = SHARES,
) -> Interval:
    """The mean over datasets of the mean over each one's seeds, with an interval that covers other datasets and seeds.

    The hierarchical bootstrap of `mean_interval`, in which a drawn dataset varies by the error of its mean over seeds:
    prompts, and what seeds vary by beyond that (pooled over datasets, as few seeds of one say little). With one seed
    each it is `mean_interval`. Of one dataset, it is Student's interval over seeds, not shorter than prompts demand,
    and speaks of that dataset only.

    In simulations with nine datasets of three seeds each it covered the mean in 94% of the samples where datasets
    differ most, and in up to 99% where seeds or prompts made the spread.

    Args:
        runs: for each dataset one interval per seed; datasets may have different numbers of seeds.
        draws: number of bootstrap draws.
        seed: of the bootstrap.
        limits: what the numbers can be at all; infinite ends for nats.

    Raises:
        DataError: there is no dataset, one has no run, or a number is NaN.
    """
    if all(len(each) == 1 for each in runs):
        return mean_interval([each[0] for each in runs], draws=draws, seed=seed, limits=limits)
    values, errors = _values_and_errors(runs)
    between = variance_components(runs).seeds
    means = [float(each.mean()) for each in values]
    spread = [float(np.sqrt((between + np.mean(np.square(each))) / len(each))) for each in errors]
    if len(means) > 1:
        half = Z_95 * np.array(spread)
        return mean_interval(
            [Interval(m, m - h, m + h) for m, h in zip(means, half, strict=True)],
            draws=draws,
            seed=seed,
            limits=limits,
        )
    half_width = float(t_quantile(0.975, len(values[0]) - 1)) * spread[0]
    return Interval(means[0], max(limits[0], means[0] - half_width), min(limits[1], means[0] + half_width))


def nested_mean_comparison(comparisons: Sequence[Sequence[Comparison]]) -> Comparison:
    """The mean of differences over datasets, each the mean over its seeds, with its interval and p-value.

    It speaks of other prompts and other seeds of the same datasets. The variance of a run's difference is that of its
    prompts and of seeds, pooled over datasets; as that is estimated, the test is Student's, with as many degrees of
    freedom as there are seeds beyond the first of each dataset. With one seed each it is `mean_comparison`.

    Args:
        comparisons: for each dataset the same two detectors in one run per seed.

    Raises:
        DataError: there is no dataset, one has no run, or a number is NaN.
    """
    if all(len(each) == 1 for each in comparisons):
        return mean_comparison([each[0] for each in comparisons])
    # The longer half: the other one may have been cut off at -1 or 1.
    halves = [[max(c.high - c.difference, c.difference - c.low) for c in each] for each in comparisons]
    runs = [
        [Interval(c.difference, c.difference - half, c.difference + half) for c, half in zip(each, row, strict=True)]
        for each, row in zip(comparisons, halves, strict=True)
    ]
    values, errors = _values_and_errors(runs)
    between = variance_components(runs).seeds
    difference = float(np.mean([each.mean() for each in values]))
    variances = [(between + np.mean(np.square(each))) / len(each) for each in errors]
    error = float(np.sqrt(np.sum(variances))) / len(runs)
    if error == 0:  # the same order in every run
        return Comparison(difference, difference, difference, 1.0)
    freedom = sum(len(each) - 1 for each in runs)
    half_width = float(t_quantile(0.975, freedom)) * error
    p_value = float(2 * t_tail(abs(difference) / error, freedom))
    return Comparison(difference, max(-1.0, difference - half_width), min(1.0, difference + half_width), p_value)


def _values_and_errors(
    runs: Sequence[Sequence[Interval]],
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Of each dataset the numbers of its runs, and their standard errors."""
    tables = [np.asarray(each, dtype=np.float64).reshape(-1, 3) for each in runs]
    if not tables or not all(len(table) and np.isfinite(table).all() for table in tables):
        raise DataError("runs must be one finite interval or more per dataset: give at least one, and leave out NaN")
    return [table[:, 0] for table in tables], [(table[:, 2] - table[:, 1]) / (2 * Z_95) for table in tables]
