"""AUROC within strata: what is left of a detector where it compares like with like."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from madkit.errors import DataError
from madkit.statistics.auroc_interval import clustered_interval, student
from madkit.statistics.clustered_variance import ClusterSums
from madkit.statistics.clusters import Clusters, cluster_codes
from madkit.statistics.comparison import Comparison
from madkit.statistics.interval import Interval
from madkit.statistics.labelled_scores import check_scores
from madkit.statistics.win_rates import WinRates, win_rates


class StratifiedAUROC(NamedTuple):
    """AUROC over the pairs of one stratum, and how it differs from that over all pairs."""

    within: Interval
    """Over pairs of an anomalous and a normal row of the same stratum; strata count by their number of pairs."""
    difference: Comparison
    """`within` minus the AUROC over all pairs, on the same rows, with its paired interval."""
    n_pairs: int
    """Pairs of one stratum."""
    share: float
    """They are this share of all pairs."""


def stratified_auroc(
    scores: ArrayLike, labels: ArrayLike, strata: ArrayLike, *, clusters: Clusters | None = None
) -> StratifiedAUROC:
    """AUROC over pairs of the same stratum only, such as prompts that were answered alike.

    Where normal and anomalous rows differ in the stratum (one says Yes more often), a score that shows nothing but the
    stratum has a high AUROC over all pairs, and 0.5 within. The share of pairs of a stratum that are right is averaged
    over strata by their number of pairs (van Elteren 1960, with these weights), so that AUROC within one stratum is
    AUROC. Interval and difference are from the influence of each row on both, added up within clusters; see
    `madkit.statistics.clustered_variance`. The interval is as in `auroc`.

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.
        strata: (n,) what is compared with one another; strata of one class only take part in no pair.
        clusters: what rows belong together, as in `auroc`. None: rows are independent.

    Raises:
        DataError: as in `auroc`; or no stratum has rows of both classes.

    Example:
        >>> found = stratified_auroc([1, 2, 3, 4, 5], [0, 1, 0, 1, 1], ["no", "no", "yes", "yes", "yes"])
        >>> found.within.value, found.n_pairs, round(found.difference.difference, 3)
        (1.0, 3, 0.167)
    """
    rows, anomalous = check_scores([scores], labels)
    codes, _ = pd.factorize(np.asarray(strata))
    if codes.shape != anomalous.shape or (codes < 0).any():
        raise DataError(f"strata of shape {codes.shape} for {len(anomalous)} rows: give one to each row")
    if not set(codes[anomalous]) & set(codes[~anomalous]):
        raise DataError(f"none of {len(set(codes))} strata has both anomalous and normal rows: nothing is comparable")
    groupings = cluster_codes(clusters, len(anomalous)) or [np.arange(len(anomalous))]
    within, plain = win_rates(rows, anomalous, codes), win_rates(rows, anomalous)
    interval = clustered_interval(within, anomalous, groupings)
    gap = float(within.values[0] - plain.values[0])
    # A row's share of its class is not the same in both: the larger one is on the safe side.
    both = WinRates(
        np.concatenate([within.values, plain.values]),
        np.concatenate([within.influence, plain.influence]),
        np.maximum(within.weight, plain.weight),
        within.n_pairs,
    )
    variance, freedom = ClusterSums(both, anomalous, groupings).variance(np.array([[1.0, -1.0]]))
    return StratifiedAUROC(
        interval, _compared(gap, float(variance[0]), float(freedom[0])), within.n_pairs, within.n_pairs / plain.n_pairs
    )


def _compared(gap: float, variance: float, freedom: float) -> Comparison:
    if not variance > 1e-18:
        unknown = not np.isfinite(variance)
        if unknown or abs(gap) > 1e-12:
            return Comparison(gap, -1.0, 1.0, 1.0)
        return Comparison(gap, gap, gap, 1.0)
    error, quantile = float(np.sqrt(variance)), student(freedom)
    size = abs(gap) / error
    p_value = float(2 * (t.sf(size, freedom) if np.isfinite(freedom) else norm.sf(size)))
    return Comparison(gap, max(-1.0, gap - quantile * error), min(1.0, gap + quantile * error), p_value)
