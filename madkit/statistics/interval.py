"""A number with its confidence interval, which every statistic returns."""

from typing import NamedTuple

from madkit.statistics.distributions import normal_quantile

#: Standard errors on either side of a normal estimate that make a 95% interval.
Z_95 = float(normal_quantile(0.975))


class Interval(NamedTuple):
    """A number with its 95% confidence interval."""

    value: float
    low: float
    high: float
