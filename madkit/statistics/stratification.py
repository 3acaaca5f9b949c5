"""AUROC within strata: what is left of a detector where it compares like with like."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from madkit.errors import DataError
from madkit.statistics.auroc_interval import clustered_intervals, student
from madkit.statistics.clustered_variance import ClusterSums
from madkit.statistics.clusters import Clusters, Groupings, cluster_codes, id_codes
from madkit.statistics.comparison import Comparison
from madkit.statistics.distributions import normal_share, t_tail
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
        DataError: as in `auroc`; not one stratum per row; or none has rows of both classes.

    Example:
        >>> found = stratified_auroc([1, 2, 3, 4, 5], [0, 1, 0, 1, 1], ["no", "no", "yes", "yes", "yes"])
        >>> found.within.value, found.n_pairs, round(found.difference.difference, 3)
        (1.0, 3, 0.167)
    """
    return stratified_auroc_all([scores], labels, strata, clusters=clusters)[0]


def stratified_auroc_all(
    scores: Sequence[ArrayLike] | np.ndarray,
    labels: ArrayLike,
    strata: ArrayLike,
    *,
    clusters: Clusters | None = None,
) -> list[StratifiedAUROC]:
    """The same of each of several scores (n,) of the same rows; what they have in common is computed once."""
    rows, anomalous = check_scores(scores, labels)
    codes = id_codes(strata, len(anomalous), "strata")
    if not set(codes[anomalous]) & set(codes[~anomalous]):
        raise DataError(f"none of {len(set(codes))} strata has both anomalous and normal rows: nothing is comparable")
    groupings = cluster_codes(clusters, len(anomalous)) or Groupings([np.arange(len(anomalous))])
    within, plain = win_rates(rows, anomalous, codes), win_rates(rows, anomalous)
    intervals = clustered_intervals(within, anomalous, groupings)
    # A row's share of its class is not the same in both: the larger one is on the safe side.
    both = WinRates(
        np.concatenate([within.values, plain.values]),
        np.concatenate([within.influence, plain.influence]),
        np.maximum(within.weight, plain.weight),
        within.n_pairs,
    )
    each = np.eye(len(rows))
    variance, freedom = ClusterSums(both, anomalous, groupings).variance(np.concatenate([each, -each], axis=1))
    compared = _compared(within.values - plain.values, variance, freedom)
    share = within.n_pairs / plain.n_pairs
    return [StratifiedAUROC(*pair, within.n_pairs, share) for pair in zip(intervals, compared, strict=True)]


def _compared(gaps: np.ndarray, variances: np.ndarray, freedoms: np.ndarray) -> list[Comparison]:
    errors, quantiles = np.sqrt(np.maximum(variances, 0)), student(freedoms)
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = np.abs(gaps) / errors
    known = np.isfinite(freedoms)
    p_values = 2 * np.where(known, t_tail(sizes, np.where(known, freedoms, 1.0)), normal_share(-sizes))
    found = []
    for gap, variance, reach, p_value in zip(
        gaps.tolist(), variances.tolist(), (quantiles * errors).tolist(), p_values.tolist(), strict=True
    ):
        if variance > 1e-18:
            found.append(Comparison(gap, max(-1.0, gap - reach), min(1.0, gap + reach), p_value))
        elif not np.isfinite(variance) or abs(gap) > 1e-12:
            found.append(Comparison(gap, -1.0, 1.0, 1.0))
        else:
            found.append(Comparison(gap, gap, gap, 1.0))
    return found
