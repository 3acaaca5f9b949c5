"""Conformal p-values for prompts that are distributed otherwise than the held-out ones, in a known way."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import DataError

Numbers = NDArray[np.float64]

#: A weight is at most e to this power: beyond it a ratio is a matter of extrapolation.
_LARGEST_LOG = 20.0


def weighted_conformal_p_values(
    scores: ArrayLike, calibration: ArrayLike, weights: ArrayLike, calibration_weights: ArrayLike
) -> Numbers:
    """Of each score, the weight of itself and of the calibration scores that are as high, over all weight.

    If weights are the ratio of the density of new prompts to that of calibration prompts, up to a factor, the p-value
    is at most a with a probability of at most a (Tibshirani, Foygel Barber, Candes and Ramdas 2019, arXiv 1904.06019,
    corollary 1). A new prompt unlike all calibration prompts has a large weight, and never alarms.

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        calibration: (m,) scores of held-out trusted prompts.
        weights: (n,) of the new prompts, not negative.
        calibration_weights: (m,) of the calibration prompts.

    Returns:
        (n,) float64; with equal weights `madkit.statistics.conformal.conformal_p_values`.

    Raises:
        DataError: other shapes, NaN, negative weights, or no weight at all.

    Example:
        >>> weighted_conformal_p_values([2.5], [1.0, 2.0, 3.0], [1.0], [1.0, 1.0, 6.0]).round(3).tolist()
        [0.778]
    """
    x, w = _pair(scores, weights, "scores")
    held_out, held_out_weights = _pair(calibration, calibration_weights, "calibration")
    order = np.argsort(held_out)
    from_here = np.append(np.cumsum(held_out_weights[order][::-1])[::-1], 0.0)
    as_high = from_here[np.searchsorted(held_out[order], x, "left")]
    total = from_here[0] + w
    if not (total > 0).all():
        raise DataError("weights and calibration_weights are all 0: give the prompts some weight")
    return (w + as_high) / total


def density_ratio(
    held_out: ArrayLike, stream: ArrayLike, new: ArrayLike | None = None, strength: float = 1.0
) -> tuple[Numbers, Numbers]:
    """How much more frequent prompts like each one are in a stream than among held-out ones, by a logistic regression.

    The odds of being of the stream, divided by the ratio of the numbers of prompts, are the ratio of densities (Bickel,
    Brueckner and Scheffer 2009; Tibshirani et al. 2019, section 2.3). Covariates are standardised; the penalty is
    |w|^2 / (2 strength).

    Args:
        held_out: (m, k) covariates of the calibration prompts, such as length; no labels.
        stream: (n, k) those of unlabelled prompts.
        new: (l, k) those of the prompts in question; None: of the stream.
        strength: of the fit against the penalty, scikit-learn's C.

    Returns:
        Ratios (m,) of the calibration prompts and (l,) of the prompts in question.

    Raises:
        DataError: other shapes, NaN, or no prompts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    tables = {"held_out": float_array(held_out, "held_out"), "stream": float_array(stream, "stream")}
    tables["new"] = tables["stream"] if new is None else float_array(new, "new")
    width = tables["held_out"].shape[1:]
    for name, table in tables.items():
        if table.ndim != 2 or not len(table) or table.shape[1:] != width or not np.isfinite(table).all():
            raise DataError(f"{name} of shape {table.shape} must be finite, (prompts, covariates), all of one width")
    first, second, asked = tables.values()
    x, is_new = np.concatenate([first, second]), np.repeat([False, True], [len(first), len(second)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(x, is_new)

    def ratio(covariates: Numbers) -> Numbers:
        log_ratio = model.decision_function(covariates) - np.log(len(second) / len(first))
        return np.exp(np.clip(log_ratio, -_LARGEST_LOG, _LARGEST_LOG))

    return ratio(first), ratio(asked)


def _pair(scores: ArrayLike, weights: ArrayLike, name: str) -> tuple[Numbers, Numbers]:
    x, w = float_array(scores, name), float_array(weights, f"weights of {name}")
    if x.ndim != 1 or x.shape != w.shape or not np.isfinite(x).all() or not (np.isfinite(w) & (w >= 0)).all():
        raise DataError(
            f"{name} of shape {x.shape} and their weights of shape {w.shape}: give finite (n,) both, no weight < 0"
        )
    return x, w
