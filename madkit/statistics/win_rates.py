"""AUROC as a mean of comparisons between rows, and how much each row moves it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.ranks import ranks


class WinRates(NamedTuple):
    """AUROCs of several scores of the same rows, and what each row adds to their error."""

    values: NDArray[np.float64]
    """(s,) AUROC."""
    influence: NDArray[np.float64]
    """(s, n): how far each row moves the AUROC from its mean; of each class they add up to zero."""
    weight: NDArray[np.float64]
    """(n,) the share of its class that a row is, by the comparisons in which it takes part."""
    n_pairs: int
    """How many pairs of an anomalous and a normal row are compared."""


def win_rates(
    rows: NDArray[np.float64], anomalous: NDArray[np.bool_], strata: NDArray[np.int64] | None = None
) -> WinRates:
    """AUROC over all pairs of an anomalous and a normal row, or over those of the same stratum only.

    The influence of a row is the sum over its comparisons of (won - AUROC), over the number of all comparisons: the
    structural components of DeLong, DeLong and Clarke-Pearson (1988). Over strata AUROC is a ratio of two sums over
    pairs, (pairs of one stratum that are right) / (pairs of one stratum), and the influence is that of the ratio, so
    that it holds where how many rows fall into a stratum is chance as well.

    Args:
        rows: (s, n) scores.
        anomalous: (n,) labels.
        strata: (n,) numbers; those without rows of both classes are left out. At least one has both.
    """
    members = (
        [np.arange(len(anomalous))] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    )
    won = np.zeros(rows.shape)  # the sum of a row's comparisons that are right
    against = np.zeros(len(anomalous))  # with how many rows it is compared
    for index in members:
        positive, negative = index[anomalous[index]], index[~anomalous[index]]
        m, n = len(positive), len(negative)
        if not m or not n:
            continue
        above, below = rows[:, positive], rows[:, negative]
        overall = ranks(np.concatenate([above, below], axis=1))
        won[:, positive] = overall[:, :m] - ranks(above)
        won[:, negative] = m - (overall[:, m:] - ranks(below))
        against[positive], against[negative] = n, m
    pairs = against[anomalous].sum()
    values = won[:, anomalous].sum(1) / pairs
    influence = (won - values[:, None] * against) / pairs
    return WinRates(values, influence, against / pairs, int(pairs))
