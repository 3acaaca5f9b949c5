"""How often a threshold alarms on normal prompts of another kind than those that it was set on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clustered_means import independent_share
from madkit.statistics.clusters import Clusters, cluster_codes
from madkit.statistics.interval import Interval
from madkit.statistics.wilson import wilson_interval


class AlarmRates(NamedTuple):
    """Shares of prompts that alarm, each with its 95% interval."""

    false_alarms: Interval
    """Of normal prompts."""
    caught: Interval
    """Of anomalous ones."""


def alarm_rates(alarms: NDArray[np.bool_], labels: NDArray[np.bool_], clusters: Clusters | None = None) -> AlarmRates:
    """The shares of normal and of anomalous prompts that alarm.

    Intervals are Wilson's (1927) for as many independent prompts as those of a class are worth, which share statements
    and speakers. They speak of other prompts under the same threshold. The threshold is itself of chance, if few
    calibration prompts set it.

    Args:
        alarms: (n,) which prompts alarm.
        labels: (n,) which of them are anomalous; both kinds have to occur.
        clusters: what rows belong together, as in `auroc`. None: rows are independent.

    Example:
        >>> rates = alarm_rates(np.array([True, False, True, True]), np.array([False, False, True, True]))
        >>> rates.false_alarms.value, rates.caught.value
        (0.5, 1.0)
    """
    groupings = cluster_codes(clusters, len(labels))
    return AlarmRates(*(_share(alarms, labels == kind, groupings) for kind in (False, True)))


def _share(alarms: NDArray[np.bool_], rows: NDArray[np.bool_], groupings: tuple[NDArray[np.int64], ...]) -> Interval:
    own = alarms[rows].astype(np.float64)
    worth = independent_share(own, [codes[rows] for codes in groupings]) if groupings else float(len(own))
    share = float(own.mean())
    _, low, high = wilson_interval(share * worth, worth)
    return Interval(share, min(low, share), max(high, share))
