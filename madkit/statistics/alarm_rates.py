"""How often thresholds alarm, as shares of prompts that are not independent."""

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clustered_means import independent_shares
from madkit.statistics.clusters import Clusters, cluster_codes
from madkit.statistics.interval import Interval
from madkit.statistics.wilson import wilson_interval


def alarm_rates(alarms: NDArray[np.bool_], clusters: Clusters | None = None) -> list[Interval]:
    """The shares of prompts that alarm, by each of several ways.

    Intervals are Wilson's (1927) for as many independent prompts as these are worth, which share statements and
    speakers; prompts that are all of one cluster are worth one. They speak of other prompts under the same threshold.
    The threshold is itself of chance, if few calibration prompts set it.

    Args:
        alarms: (s, n) which prompts alarm, one prompt or more.
        clusters: what prompts belong together, as in `auroc`. None: they are independent.

    Returns:
        Of each way its share, with a 95% interval.

    Example:
        >>> [[round(end, 2) for end in rate] for rate in alarm_rates(np.array([[True, False], [True, True]]))]
        [[0.5, 0.09, 0.91], [1.0, 0.34, 1.0]]
    """
    rows = alarms.astype(np.float64)
    groupings = cluster_codes(clusters, rows.shape[1])
    worth = independent_shares(rows, groupings) if groupings else [float(rows.shape[1])] * len(rows)
    return [_interval(float(share), n) for share, n in zip(rows.mean(1), worth, strict=True)]


def _interval(share: float, n: float) -> Interval:
    _, low, high = wilson_interval(share * n, n)
    return Interval(share, min(low, share), max(high, share))
