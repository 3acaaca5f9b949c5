"""The Gaussian mass that lies along a ray, exactly and in logarithms, for any number of dimensions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy

from madkit.errors import ConfigError

Array = NDArray[np.float64]

#: The integral leaves out where the integrand is below exp(-DROP) of its largest value: less than one bit of float64.
DROP = 50.0
NODES, WEIGHTS = np.polynomial.legendre.leggauss(128)


def log_mass(
    dimension: int, radius: ArrayLike, aligned: ArrayLike = 0.0, norm: float = 0.0, sigma: float = 1.0
) -> Array:
    r"""The log of the Gaussian mass of a star-shaped region whose radius is the same in all directions as in this one.

    For a centre theta and a unit vector u in D dimensions,

    .. math:: \ln(D V_D) - \tfrac D2 \ln(2 \pi \sigma^2)
              + \ln \int_0^r s^{D-1} \exp(-|\theta + s u|^2 / 2 \sigma^2) ds,

    V_D being the volume of the unit ball. Its mean over uniform u, before the log, is the mass of the region under
    N(0, sigma^2 I) (arXiv 2501.18812, section on Gaussian volumes). For theta = 0 it is the log of a regularised
    incomplete gamma function.

    The integrand's logarithm is concave, so its mass lies in one interval whose ends have closed forms;
    there it is integrated by Gauss-Legendre quadrature, relative to its largest value. All terms of size D ln D cancel
    in closed form (Stirling's series), so the error does not grow with D as theirs would.

    Args:
        dimension: D, 1 or more.
        radius: r, any shape; 0 has no mass, infinity takes the complete ray.
        aligned: u . theta, of a shape that broadcasts with the radius.
        norm: \|theta\|.
        sigma: the standard deviation of each coordinate.

    Returns:
        The logs, of the broadcast shape.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> round(float(log_mass(50, 0.5)), 4), round(abs(float(log_mass(10**10, np.inf))), 9)
        (-110.1098, 0.0)
    """
    if dimension < 1 or not sigma > 0 or not np.isfinite(sigma) or not 0 <= norm < np.inf:
        raise ConfigError(
            f"log_mass(dimension={dimension}, norm={norm}, sigma={sigma}): dimension must be at least 1, norm finite "
            "and not negative, sigma finite and positive"
        )
    r, m = np.broadcast_arrays(np.asarray(radius, float) / sigma, np.asarray(aligned, float) / sigma)
    if np.isnan(r).any() or (r < 0).any() or not np.isfinite(m).all():
        raise ConfigError("log_mass: radius must be 0 or more and aligned finite; check that the loss is not NaN")
    n, q = float(dimension - 1), norm / sigma
    peak = np.minimum(_mode(n, m), np.where(r > 0, r, 1.0))
    slope = np.where(peak < _mode(n, m), _ratio(n, peak) - peak - m, np.where(n > 0, 0.0, -np.maximum(m, 0.0)))
    low = np.minimum(_below(n, peak, slope), peak)
    high = np.minimum(_above(n, peak, slope), np.maximum(r - peak, 0.0))
    area = _panel(n, peak, slope, -low, low) + _panel(n, peak, slope, np.zeros_like(high), high)
    with np.errstate(divide="ignore"):
        return np.where(r > 0, _log_density(n, peak, m, q) + np.log(area), -np.inf)


def outer_radius(dimension: int, aligned: ArrayLike = 0.0, sigma: float = 1.0) -> Array:
    """The distance along a ray beyond which the Gaussian mass is below the resolution of float64.

    A region that reaches this far has the mass of the complete ray.

    Args:
        dimension: D.
        aligned: u . theta, any shape.
        sigma: the standard deviation of each coordinate.
    """
    n, m = float(dimension - 1), np.asarray(aligned, float) / sigma
    peak = _mode(n, m)
    slope = np.where(n > 0, 0.0, -np.maximum(m, 0.0))
    return (peak + _above(n, peak, slope)) * sigma


def _mode(n: float, m: Array) -> Array:
    """Where s^n exp(-s^2/2 - m s) is largest, without cancellation."""
    root = np.hypot(m, 2 * np.sqrt(n))
    with np.errstate(invalid="ignore"):
        return np.where(m > 0, 2 * n / np.where(root + m > 0, root + m, 1.0), (root - m) / 2)


def _ratio(n: float, t: Array) -> Array:
    """The number n / t, and 0 for n = 0."""
    return n / t if n else np.zeros_like(t)


def _below(n: float, t: Array, slope: Array) -> Array:
    """How far below t the log integrand has surely fallen by DROP: ln(1 + e) - e <= -e^2/2 for e < 0."""
    curvature = (_ratio(n, t) / np.where(t > 0, t, 1.0) + 1) / 2
    return 2 * DROP / (slope + np.sqrt(slope**2 + 4 * curvature * DROP))


def _above(n: float, t: Array, slope: Array) -> Array:
    """How far above t it has surely fallen by DROP, where the slope is not positive (elsewhere it is not needed)."""
    fall = np.maximum(-slope, 0.0)
    gaussian = 2 * DROP / (fall + np.sqrt(fall**2 + 2 * DROP))
    if not n:
        return gaussian
    # e - ln(1 + e) >= 3 e^2 / (6 + 4 e) for e > 0.
    power = (4 * DROP + np.sqrt(16 * DROP**2 + 72 * n * DROP)) / (6 * n)
    return np.minimum(gaussian, power * t)


def _panel(n: float, t: Array, slope: Array, start: Array, width: Array) -> Array:
    """The integral from t + start to t + start + width, relative to the integrand at t."""
    x = start[..., None] + width[..., None] * (NODES + 1) / 2
    rise = slope[..., None] * x - x**2 / 2
    if n:
        e = np.maximum(x / t[..., None], -1 + 1e-300)
        rise = rise + n * (np.log1p(e) - e)
    return (np.exp(rise) * WEIGHTS).sum(-1) * width / 2


def _log_density(n: float, t: Array, m: Array, q: float) -> Array:
    """The log of the integrand at t, with all constants."""
    z = (n + 1) / 2
    if z < 10:
        constant = xlogy(n / 2, n) - n / 2 - (n - 1) / 2 * np.log(2) - gammaln(z)
    else:  # the same with Stirling's series for ln Gamma(z), whose leading terms cancel
        series = 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5) - 1 / (1680 * z**7) + 1 / (1188 * z**9)
        constant = (1 - n * np.log1p(1 / n) - np.log(np.pi)) / 2 - series
    if not n:
        return constant - ((t + m) ** 2 + max(q**2, 0.0) - m**2) / 2
    root = np.sqrt(n)
    tau, delta = t / root, (t - root) / root
    log_tau = np.where(np.abs(delta) < 0.5, np.log1p(np.maximum(delta, -0.9)), np.log(tau))
    if q**2 < n:
        return constant + n * (log_tau - delta * (1 + delta / 2)) - m * t - q**2 / 2
    return constant + n * (log_tau + 0.5) - ((t + m) ** 2 + np.maximum(q**2 - m**2, 0.0)) / 2
