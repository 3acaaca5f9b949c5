"""From radii along random directions to a log volume with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from madkit.errors import ConfigError
from madkit.statistics import bootstrap
from madkit.statistics.interval import Interval
from madkit.volume.estimation.ray_mass import log_mass, outer_radius

Array = NDArray[np.float64]
#: Below this share of the largest term, a mean of exponentials begins to lose digits.
_SMALLEST = 1e-290


@dataclass(frozen=True)
class VolumeEstimate:
    """The log of the Gaussian mass of the region in which a loss changes by less than a cutoff.

    Estimates may be compared under one ``sigma`` and ``cutoff`` only.
    """

    dimension: int
    """D, the number of coordinates."""
    sigma: float
    """The standard deviation of the Gaussian measure."""
    cutoff: float
    """The change of the loss that ends the region."""
    norm: float
    """Distance of the centre from the origin."""
    radii: Array
    """Distances (n,) at which the loss was evaluated; infinite where it stays below the cutoff."""
    changes: Array
    """The change of the loss (n,) there; where the cutoff is never reached, at the farthest point that matters."""
    reached: NDArray[np.bool_]
    """Whether the cutoff was reached (n,). Where not, the complete half-line counts."""
    stretches: Array
    """Lengths \\|P v\\| (n,) of the preconditioned directions; 1 without a preconditioner."""
    aligned: Array
    """Components (n,) of the centre along the directions."""
    evaluations: NDArray[np.int64]
    """How often the loss was evaluated (n,)."""

    @property
    def bounded(self) -> Array:
        """Radii (n,), those that are infinite replaced by the distance beyond which their half-line has no mass."""
        return np.minimum(self.radii, outer_radius(self.dimension, self.aligned, self.sigma))

    @cached_property
    def log_volumes(self) -> Array:
        """The log volume (n,) according to each direction alone, importance weight included."""
        mass = log_mass(self.dimension, self.radii, self.aligned, self.norm, self.sigma)
        return mass - self.dimension * np.log(self.stretches)

    @cached_property
    def log_volume(self) -> Interval:
        """The log of the mean over directions, with a 95% bootstrap interval.

        The mean is unbiased for the volume. In high dimensions the largest direction decides it, and the interval,
        which rests on the directions that were drawn, is too narrow.
        """
        return _interval(self.log_volumes, log_mean_exp, _resampled_log_mean_exp)

    @cached_property
    def mean(self) -> Interval:
        """The mean of the logs, with a 95% bootstrap interval: lower, but far less noisy."""
        return _interval(self.log_volumes, np.mean, lambda x, rows: x[rows].mean(-1))

    def __repr__(self) -> str:
        value, low, high = self.log_volume
        inside = "" if self.reached.all() else f", cutoff never reached in {int((~self.reached).sum())}"
        return (
            f"VolumeEstimate(log volume {value:.6g} [{low:.6g}, {high:.6g}], mean of logs {self.mean.value:.6g}, "
            f"D {self.dimension}, {len(self.radii)} directions{inside}, sigma {self.sigma:.4g}, cutoff {self.cutoff:g})"
        )


def log_mean_exp(x: ArrayLike, axis: int = -1) -> Array:
    """The log of the mean of exp(x) along an axis.

    Example:
        >>> float(log_mean_exp([-1000.0, -1000.0]))
        -1000.0
    """
    x = np.asarray(x, float)
    return logsumexp(x, axis=axis) - np.log(x.shape[axis])


def require_settings(cutoff: float, sigma: float | None, directions: int, tolerance: float) -> None:
    """Refuse settings that are not positive and finite.

    Raises:
        ConfigError: one of them is not.
    """
    named = {"cutoff": cutoff, "directions": directions, "tolerance": tolerance}
    named |= {} if sigma is None else {"sigma": sigma}
    for name, value in named.items():
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name}={value} must be positive and finite")


def _interval(
    x: Array, of: Callable[[Array], Any], of_resamples: Callable[[Array, NDArray[np.int64]], Array], draws: int = 10_000
) -> Interval:
    """A statistic with its bootstrap interval; `of_resamples` is that of x (n,) at rows (b, n)."""
    value = float(of(x))
    if len(x) < 2 or not np.isfinite(x).all():
        return Interval(value, float("nan"), float("nan"))
    drawn = bootstrap.resamples(len(x), draws, np.random.default_rng(0))
    return bootstrap.percentile_interval(value, np.concatenate([of_resamples(x, rows) for rows in drawn]))


def _resampled_log_mean_exp(x: Array, rows: NDArray[np.int64]) -> Array:
    """The log of the mean of exp(x) over each row of indices, for which the exponentials are taken once."""
    highest = x.max()
    means = np.exp(x - highest)[rows].mean(-1)
    lost = means < _SMALLEST  # the largest is not among those that were drawn, and these are far from it
    logs = np.log(np.where(lost, 1, means)) + highest
    logs[lost] = log_mean_exp(x[rows[lost]])
    return logs
