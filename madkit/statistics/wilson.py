"""The confidence interval of a share."""

import numpy as np

from madkit.errors import DataError
from madkit.statistics.interval import Z_95, Interval


def wilson_interval(successes: float, n: float) -> Interval:
    """A share with Wilson's (1927) score interval, which takes its n trials for independent.

    Args:
        successes: how many trials succeeded; a tie counts one half.
        n: number of trials; of trials that belong together, how many independent ones they are worth.

    Raises:
        DataError: n is below 1, or `successes` not between 0 and n.

    Example:
        >>> [round(x, 3) for x in wilson_interval(98, 100)]
        [0.98, 0.93, 0.994]
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"successes={successes} of n={n}: give at least one trial, and no more successes than trials")
    share, z2 = float(successes / n), Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return Interval(share, float(max(0.0, centre - half)), float(min(1.0, centre + half)))
