"""Scores at several sites become one: raw, or measured against held-out trusted prompts."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import DataError

Scores = NDArray[np.float64]

#: Ways of aggregating that compare with held-out trusted prompts, and all of them.
CALIBRATED = ("zscore", "rank", "fisher", "ledoit_wolf", "cauchy", "higher_criticism")
AGGREGATIONS = ("mean", "max", *CALIBRATED)


def aggregate(name: str, scores: ArrayLike, calibration: ArrayLike | None = None) -> Scores:
    """Combine the scores of each prompt at all sites.

    - mean, max: of the raw scores, as published (arXiv 2504.08812). A site whose scores are large rules.
    - zscore: mean over sites of (score - mean) / standard deviation (n - 1) of the calibration prompts there.
    - rank: mean over sites of the share of calibration prompts that score below, ties half.
    - fisher: -2 sum over sites of ln p, with p = (1 + number of calibration prompts that score as high) /
      (1 + their number) (Fisher 1925, section 21.1). Sites are not independent, so it is a score and no test.
    - ledoit_wolf: squared Mahalanobis distance of the vector of z-scores from those of the calibration prompts, with
      their covariance shrunk (Ledoit and Wolf 2004). It knows which sites say the same, and a score far below the
      usual counts as one far above (layerwise convergence fingerprints, arXiv 2604.24542).
    - cauchy: mean over sites of tan(pi (1/2 - p)), which a few small p rule (Liu and Xie 2020, section 2.1).
    - higher_criticism: the largest of sqrt(k) (i/k - p_i) / sqrt(p_i (1 - p_i)) over the smaller half of the k sorted p
      (Donoho and Jin 2004, eq. 1.1): some sites, and it does not say which, are far out.

    The last two, rank and fisher see ranks only. They cannot tell how far above all calibration prompts a score is;
    with few of those, many anomalous prompts tie.

    Args:
        name: one of the above.
        scores: (n, sites) finite numbers, higher = more anomalous.
        calibration: (m, sites) scores of held-out trusted prompts; needed by all but mean and max.

    Returns:
        (n,) float64, higher = more anomalous.

    Raises:
        DataError: an unknown name, other shapes, NaN, no calibration scores where they are needed, or, for
            zscore and ledoit_wolf, a site at which all of them are equal.

    Example:
        >>> aggregate("rank", [[0.5, 9.0]], [[0.0, 1.0], [1.0, 2.0]]).tolist()
        [0.75]
    """
    if name not in AGGREGATIONS:
        raise DataError(f"name={name!r}: unknown aggregation; choose from {', '.join(AGGREGATIONS)}")
    table = float_array(scores, "scores")
    if table.ndim != 2 or not table.shape[1] or not np.isfinite(table).all():
        raise DataError(f"scores of shape {table.shape} must be finite numbers, (n, sites)")
    if name == "mean":
        return table.mean(1)
    if name == "max":
        return table.max(1)
    held_out = np.empty((0, table.shape[1])) if calibration is None else float_array(calibration, "calibration")
    if held_out.ndim != 2 or held_out.shape[1] != table.shape[1] or not np.isfinite(held_out).all():
        raise DataError(f"calibration of shape {held_out.shape} must be finite, (m, {table.shape[1]}) as the scores")
    if len(held_out) < 2:
        raise DataError(f"{name} needs scores of held-out trusted prompts and has {len(held_out)}: give two or more")
    return _CALIBRATED_FUNCTIONS[name](table, held_out)


def _zscores(scores: Scores, calibration: Scores) -> Scores:
    spread = calibration.std(0, ddof=1)
    if not (spread > 0).all():
        raise DataError(f"zscore: at {int((spread == 0).sum())} sites all calibration scores are equal; use rank")
    return (scores - calibration.mean(0)) / spread


def _zscore(scores: Scores, calibration: Scores) -> Scores:
    return _zscores(scores, calibration).mean(1)


def _ledoit_wolf(scores: Scores, calibration: Scores) -> Scores:
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(_zscores(calibration, calibration))
    z = _zscores(scores, calibration)
    return np.einsum("ij,ij->i", z, np.linalg.solve(covariance, z.T).T)


def _rank(scores: Scores, calibration: Scores) -> Scores:
    below, not_above = _counts(scores, calibration)
    return (below + not_above).mean(1) / (2 * len(calibration))


def _fisher(scores: Scores, calibration: Scores) -> Scores:
    return -2 * np.log(_p_values(scores, calibration)).sum(1)


def _cauchy(scores: Scores, calibration: Scores) -> Scores:
    return np.tan(np.pi * (0.5 - _p_values(scores, calibration, most=1 - 0.5 / (1 + len(calibration))))).mean(1)


def _higher_criticism(scores: Scores, calibration: Scores) -> Scores:
    p = np.sort(_p_values(scores, calibration, most=1 - 0.5 / (1 + len(calibration))), axis=1)
    k = p.shape[1]
    half = max(1, k // 2)
    share = np.arange(1, half + 1) / k
    p = p[:, :half]
    return (np.sqrt(k) * (share - p) / np.sqrt(p * (1 - p))).max(1)


def _p_values(scores: Scores, calibration: Scores, most: float = 1.0) -> Scores:
    """Of each score, (1 + number of calibration prompts that score as high) / (1 + their number), at most `most`.

    A score below all calibration prompts has p = 1, where tan and 1 / sqrt(1 - p) have a pole: `most` keeps off it.
    """
    below, _ = _counts(scores, calibration)
    as_high = len(calibration) - below
    return np.minimum((1 + as_high) / (1 + len(calibration)), most)


def _counts(scores: Scores, calibration: Scores) -> tuple[Scores, Scores]:
    """At each site, how many calibration scores lie below each score, and how many not above it."""
    below, not_above = np.empty_like(scores), np.empty_like(scores)
    for j, ordered in enumerate(np.sort(calibration, axis=0).T):
        below[:, j] = np.searchsorted(ordered, scores[:, j], "left")
        not_above[:, j] = np.searchsorted(ordered, scores[:, j], "right")
    return below, not_above


_CALIBRATED_FUNCTIONS: dict[str, Callable[[Scores, Scores], Scores]] = {
    "zscore": _zscore,
    "rank": _rank,
    "fisher": _fisher,
    "ledoit_wolf": _ledoit_wolf,
    "cauchy": _cauchy,
    "higher_criticism": _higher_criticism,
}
