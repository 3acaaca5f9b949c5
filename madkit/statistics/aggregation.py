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
      usual counts as one far above (layerwise convergence fingerprints, arXiv 2604.24542). Where that has no
      inverse (of two prompts, or where one site follows from others), it is of the directions in which prompts vary.
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
    table = _checked(name, scores, "scores")
    if name in _RAW_FUNCTIONS:
        return _RAW_FUNCTIONS[name](table)
    held_out = np.empty((0, table.shape[1])) if calibration is None else float_array(calibration, "calibration")
    if held_out.ndim != 2 or held_out.shape[1] != table.shape[1] or not np.isfinite(held_out).all():
        raise DataError(f"calibration of shape {held_out.shape} must be finite, (m, {table.shape[1]}) as the scores")
    if len(held_out) < 2:
        raise DataError(f"{name} needs scores of held-out trusted prompts and has {len(held_out)}: give two or more")
    return _CALIBRATED_FUNCTIONS[name](table, held_out, False)


def aggregate_held_out(name: str, calibration: ArrayLike) -> Scores:
    """The calibration prompts' own aggregated scores, each measured against the others.

    They are what aggregated scores of new prompts are compared with. Measured against all calibration prompts, itself
    among them, a prompt would look more usual than a new one of the same kind, and thresholds would be too low. The
    covariance of ledoit_wolf leaves out a twentieth of them at a time, all other aggregations one.

    Args:
        name: as of `aggregate`.
        calibration: (m, sites) scores of held-out trusted prompts.

    Returns:
        (m,) float64.

    Raises:
        DataError: as of `aggregate`; or fewer than three calibration prompts.

    Example:
        >>> aggregate_held_out("rank", [[0.0], [1.0], [2.0]]).tolist()
        [0.0, 0.5, 1.0]
    """
    table = _checked(name, calibration, "calibration")
    if name in _RAW_FUNCTIONS:
        return _RAW_FUNCTIONS[name](table)
    if len(table) < 3:
        raise DataError(f"{name} measures calibration prompts against the others and has {len(table)}: give three")
    return _CALIBRATED_FUNCTIONS[name](table, table, True)


def _checked(name: str, scores: ArrayLike, argument: str) -> Scores:
    if name not in AGGREGATIONS:
        raise DataError(f"name={name!r}: unknown aggregation; choose from {', '.join(AGGREGATIONS)}")
    table = float_array(scores, argument)
    if table.ndim != 2 or not table.shape[1] or not np.isfinite(table).all():
        raise DataError(f"{argument} of shape {table.shape} must be finite numbers, (n, sites)")
    return table


def _zscores(scores: Scores, calibration: Scores, own: bool) -> Scores:
    """Z-scores; with `own`, of the calibration prompts, each by the mean and the spread of the others."""
    centre, spread = calibration.mean(0), calibration.std(0, ddof=1)
    # The mean of equal numbers may be another one by rounding, and then their spread is not 0.
    flat = (calibration == calibration[0]).all(0) | ~(spread > 0)
    if flat.any():
        raise DataError(f"zscore: at {int(flat.sum())} sites all calibration scores are equal; use rank")
    if own:
        m = len(calibration)
        total = (m - 1) * spread**2
        # Where all others are equal this one is infinitely far from them: very far will do.
        others = np.maximum(total - (calibration - centre) ** 2 * (m / (m - 1)), 1e-9 * total)
        centre, spread = centre - (calibration - centre) / (m - 1), np.sqrt(others / (m - 2))
    return (scores - centre) / spread


def _zscore(scores: Scores, calibration: Scores, own: bool) -> Scores:
    return _zscores(scores, calibration, own).mean(1)


def _ledoit_wolf(scores: Scores, calibration: Scores, own: bool) -> Scores:
    from sklearn.covariance import ledoit_wolf

    if own:
        folds, values = np.arange(len(calibration)) % min(_FOLDS, len(calibration)), np.empty(len(calibration))
        for fold in range(int(folds.max()) + 1):
            values[folds == fold] = _ledoit_wolf(scores[folds == fold], calibration[folds != fold], False)
        return values
    covariance, _ = ledoit_wolf(_zscores(calibration, calibration, False))
    z = _zscores(scores, calibration, False)
    variances, directions = np.linalg.eigh(covariance)
    seen = variances > _ROUNDING * variances[-1]
    if not seen.all():
        # Of two prompts, or of sites that say the same, it may not be shrunk at all, and has no inverse.
        return ((z @ directions[:, seen]) ** 2 / variances[seen]).sum(1)
    return np.einsum("ij,ij->i", z, np.linalg.solve(covariance, z.T).T)


def _rank(scores: Scores, calibration: Scores, own: bool) -> Scores:
    below, not_above = _counts(scores, calibration, own)
    return (below + not_above).mean(1) / (2 * (len(calibration) - own))


def _fisher(scores: Scores, calibration: Scores, own: bool) -> Scores:
    return -2 * np.log(_p_values(scores, calibration, own)).sum(1)


def _cauchy(scores: Scores, calibration: Scores, own: bool) -> Scores:
    return np.tan(np.pi * (0.5 - _p_values(scores, calibration, own, off_one=True))).mean(1)


def _higher_criticism(scores: Scores, calibration: Scores, own: bool) -> Scores:
    p = np.sort(_p_values(scores, calibration, own, off_one=True), axis=1)
    k = p.shape[1]
    half = max(1, k // 2)
    share = np.arange(1, half + 1) / k
    p = p[:, :half]
    return (np.sqrt(k) * (share - p) / np.sqrt(p * (1 - p))).max(1)


def _p_values(scores: Scores, calibration: Scores, own: bool, off_one: bool = False) -> Scores:
    """Of each score, (1 + number of calibration prompts that score as high) / (1 + their number).

    A score below all calibration prompts has p = 1, where tan and 1 / sqrt(1 - p) have a pole: `off_one` keeps off it.
    """
    below, _ = _counts(scores, calibration, own)
    m = len(calibration) - own
    as_high = m - below
    return np.minimum((1 + as_high) / (1 + m), 1 - 0.5 / (1 + m) if off_one else 1.0)


def _counts(scores: Scores, calibration: Scores, own: bool) -> tuple[Scores, Scores]:
    """At each site, how many calibration scores lie below each score, and how many not above it.

    With `own` the scores are those of the calibration prompts, and none is counted for itself.
    """
    below, not_above = np.empty_like(scores), np.empty_like(scores)
    for j, ordered in enumerate(np.sort(calibration, axis=0).T):
        below[:, j] = np.searchsorted(ordered, scores[:, j], "left")
        not_above[:, j] = np.searchsorted(ordered, scores[:, j], "right") - own
    return below, not_above


#: Parts that the calibration prompts are cut into, to be measured against the others, where each costs a covariance.
_FOLDS = 20

#: Of a covariance's largest eigenvalue: one below this share may be 0.
_ROUNDING = 1e-12

_RAW_FUNCTIONS: dict[str, Callable[[Scores], Scores]] = {"mean": lambda x: x.mean(1), "max": lambda x: x.max(1)}
_CALIBRATED_FUNCTIONS: dict[str, Callable[[Scores, Scores, bool], Scores]] = {
    "zscore": _zscore,
    "rank": _rank,
    "fisher": _fisher,
    "ledoit_wolf": _ledoit_wolf,
    "cauchy": _cauchy,
    "higher_criticism": _higher_criticism,
}
