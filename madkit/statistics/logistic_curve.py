"""AUROC as a logistic curve of what explains it, with chance as its floor."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from madkit.arrays import float_array
from madkit.errors import DataError
from madkit.statistics.bootstrap import group_resamples
from madkit.statistics.clusters import id_codes
from madkit.statistics.explained_variance import explained_interval
from madkit.statistics.interval import Interval

_STEPS = 60
_STEEPEST = 50.0  # of standardised x: a curve this steep is a step


class LogisticCurve(NamedTuple):
    """y = 1/2 + expit(intercept + slope x) / 2, and the curve with its band."""

    intercept: float
    slope: float
    r_squared: Interval
    """1 - (squared residuals) / (squared distances from the mean); below 0 where the mean fits better."""
    value: np.ndarray
    """(m,) the curve at the points `at`."""
    low: np.ndarray
    """(m,) the lower end of its pointwise 95% band."""
    high: np.ndarray
    """(m,) the upper end."""


def fit_logistic_curve(
    x: ArrayLike,
    y: ArrayLike,
    at: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    draws: int = 500,
    seed: int = 0,
) -> LogisticCurve:
    """Fit y = 1/2 + expit(a + b x) / 2 by least squares: chance at one end, perfect at the other.

    The band is of percentiles of a bootstrap of the rows, or of their groups. A single group says nothing of others:
    its band is from chance to perfect. The interval of R^2 is that of `madkit.statistics.explained_variance`.

    Args:
        x: (n,) finite numbers, n at least 3, such as log10 of the separation.
        y: (n,) AUROCs.
        at: (m,) where the curve is wanted.
        groups: (n,) what each row belongs to; rows of a group are drawn together. None: each row by itself.
        draws: number of bootstrap draws.
        seed: the same seed gives the same band.

    Raises:
        DataError: fewer than 3 rows, NaN, lengths that differ, or a constant column.

    Example:
        >>> x = np.linspace(-2, 2, 9)
        >>> curve = fit_logistic_curve(x, 0.5 + 0.5 / (1 + np.exp(-1 - 2 * x)), [0.0])
        >>> round(curve.intercept, 6), round(curve.slope, 6), round(curve.r_squared.value, 6)
        (1.0, 2.0, 1.0)
    """
    columns = [float_array(x, "x"), float_array(y, "y")]
    if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
        raise DataError(f"x and y have shapes {columns[0].shape} and {columns[1].shape}: give (n,) both")
    n = len(columns[0])
    if n < 3 or not all(np.isfinite(column).all() for column in columns):
        raise DataError(f"x and y have n={n} rows: give at least 3, all finite")
    if any((column == column[0]).all() for column in columns):
        raise DataError("x or y is constant, so that no curve follows from them: give columns that vary")
    center, scale = columns[0].mean(), columns[0].std()
    z, target = (columns[0] - center) / scale, columns[1]
    points = (float_array(at, "at") - center) / scale
    # Both directions, as a falling curve cannot be reached from a rising start; the better one counts.
    starts = np.array([[0.0, 1.0], [0.0, -1.0]])
    tried = _fit(z, target, np.ones((2, n)), starts)
    best = tried[np.argmin([_error(z, target, np.ones(n), beta) for beta in tried])]
    generator = np.random.default_rng(seed)
    codes = id_codes(range(n) if groups is None else groups, n, "groups")
    drawn = group_resamples(codes, draws, generator)
    weights = np.stack([np.bincount(index, minlength=n) for index in drawn]).astype(float)
    betas = _fit(z, target, weights, np.tile(best, (draws, 1)))
    curves = _curve(points, betas)
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    if codes.max() == 0:  # all draws are the same, and say nothing of other groups
        low, high = np.full_like(points, 0.5), np.ones_like(points)
    fitted = _curve(z, best[None])[0]
    value = _explained(z, target, best)
    # A flat curve explains nothing.
    explained = explained_interval(value, fitted, target, groups) if np.ptp(fitted) > 0 else Interval(value, value, 1.0)
    slope = best[1] / scale
    return LogisticCurve(
        float(best[0] - slope * center),
        float(slope),
        explained,
        _curve(points, best[None])[0],
        low,
        high,
    )


def _curve(z: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Curves (b, m) of coefficients (b, 2)."""
    return 0.5 + 0.5 * expit(betas[:, :1] + betas[:, 1:] * z)


def _error(z: np.ndarray, y: np.ndarray, weight: np.ndarray, beta: np.ndarray) -> float:
    return float((weight * (y - _curve(z, beta[None])[0]) ** 2).sum())


def _explained(z: np.ndarray, y: np.ndarray, beta: np.ndarray) -> float:
    return 1 - _error(z, y, np.ones(len(y)), beta) / float(((y - y.mean()) ** 2).sum())


def _fit(z: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Levenberg and Marquardt's method for all rows of weights (b, n) side by side -> (b, 2)."""
    betas, damping = start.copy(), np.full(len(start), 1e-3)
    design = np.stack([np.ones_like(z), z])
    errors = (weights * (y - _curve(z, betas)) ** 2).sum(1)
    for _ in range(_STEPS):
        fitted = _curve(z, betas)
        slope = (2 * fitted - 1) * (1 - fitted)  # d fitted / d (a + b z)
        jacobian = slope[:, None] * design
        gradient = (jacobian * (weights * (y - fitted))[:, None]).sum(2)
        hessian = np.einsum("bin,bjn,bn->bij", jacobian, jacobian, weights)
        hessian += (damping[:, None] * np.maximum(np.einsum("bii->bi", hessian), 1e-9))[..., None] * np.eye(2)
        proposed = np.clip(betas + np.linalg.solve(hessian, gradient[..., None])[..., 0], -_STEEPEST, _STEEPEST)
        new_errors = (weights * (y - _curve(z, proposed)) ** 2).sum(1)
        better = new_errors <= errors
        betas[better], errors[better] = proposed[better], new_errors[better]
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-9, 1e9)
    return betas
