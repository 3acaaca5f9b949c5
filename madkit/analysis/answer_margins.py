"""How firmly answers are what they are meant to be, of one speaker or another group of prompts."""

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import bool_array, float_array
from madkit.errors import DataError
from madkit.statistics.bootstrap import percentile_interval
from madkit.statistics.clustered_means import cluster_means
from madkit.statistics.clusters import Clusters, cluster_codes
from madkit.statistics.interval import Interval


def answer_margin(
    log_odds: ArrayLike,
    label: ArrayLike,
    other: ArrayLike,
    *,
    clusters: Clusters | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """What it costs on average, in nats, to hold answers to other labels than their own, where the two differ.

    Quirkiness is the smaller one of this of two characters; see `madkit.analysis.quirkiness_coefficient`.

    Args:
        log_odds: (n,) logit(" Yes") - logit(" No") at the last prompt token.
        label: (n,) what is to be answered, boolean or 0 and 1.
        other: (n,) what somebody else would answer.
        clusters: what prompts belong together, as in `madkit.statistics.auroc`: then whole clusters are drawn. None:
            prompts are independent.
        draws: number of bootstrap draws.
        seed: the same seed gives the same interval.

    Returns:
        With the central 95% of a bootstrap over prompts. Below 0, the other answer is the likelier one. Its ends are
        NaN for one prompt, and for prompts of one cluster, which say nothing of others.

    Raises:
        DataError: NaN, other labels, lengths that differ, or labels that never differ.

    Example:
        >>> answer_margin([2.0, -1.0, 5.0], [1, 1, 1], [0, 0, 1]).value
        0.5
    """
    odds, own = float_array(log_odds, "log_odds"), bool_array(label, "label")
    different = bool_array(other, "other")
    if odds.ndim != 1 or not odds.shape == own.shape == different.shape:
        raise DataError(f"log_odds, label, other have shapes {odds.shape, own.shape, different.shape}: give (n,) all")
    if not np.isfinite(odds).all():
        raise DataError(f"log_odds has {(~np.isfinite(odds)).sum()} of {len(odds)} values NaN or infinite: mend them")
    rows = own != different
    if not rows.any():
        raise DataError("label and other are the same in all prompts: give prompts on which they differ")
    # The other answer's cross-entropy less that of its own: logaddexp(0, x) - logaddexp(0, -x) = x.
    gaps = np.where(own, odds, -odds)[rows, None]
    groupings = cluster_codes(clusters, len(odds))
    (means,) = cluster_means([(rows, gaps)], groupings, draws, np.random.default_rng(seed))
    return percentile_interval(gaps.mean(), means[:, 0])
