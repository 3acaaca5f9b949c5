"""The distance along a ray at which a loss has changed by a given amount, for many rays at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from madkit.errors import ConfigError, DataError

Array = NDArray[np.float64]

#: The power of the distance that the loss is assumed to grow with until two of its values have been computed.
POWER = 2.0
#: A loss that jumps may never come as close as the tolerance. Once the radius is bracketed to this share of the
#: tolerance (which for a smooth loss implies that it is met), the search ends.
NARROW = 0.1
#: The log of a radius, relative to the start, below which a region is an artefact of rounding.
NEAREST = -40.0
EPSILON = 4 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Crossings:
    """Where k rays leave the region in which the loss has changed by less than the cutoff."""

    radii: Array
    """Distances (k,) at which the loss was evaluated; infinite where the ray never leaves."""
    changes: Array
    """The change of the loss (k,) at those distances; where the ray never leaves, at the limit."""
    reached: NDArray[np.bool_]
    """Whether the cutoff was reached (k,)."""
    evaluations: NDArray[np.int64]
    """How often the loss was evaluated (k,)."""


class RadiusSearch:
    """The state of k searches on logarithmic axes, on which a loss that grows like a power is a straight line.

    First the distance is moved along that line until the cutoff lies between two evaluated points; then by the
    Illinois variant of false position (Dowell and Jarratt 1971), and by halving wherever that is slow.
    """

    def __init__(self, start: Array, limit: Array, cutoff: float) -> None:
        k = len(start)
        self.limit, self.cutoff = np.log(limit), cutoff
        self.x = np.minimum(np.log(start), self.limit)
        self.low, self.high = np.full(k, -np.inf), np.full(k, np.inf)
        self.y_low, self.y_high = np.full(k, -np.inf), np.full(k, np.inf)
        # The values that false position uses; the Illinois rule halves the one of the end that stays.
        self.w_low, self.w_high = self.y_low.copy(), self.y_high.copy()
        self.side = np.zeros(k)
        self.width = np.full(k, np.inf)
        self.slow = np.zeros(k, int)
        self.previous = np.full((2, k), np.nan)
        self.best = np.full((2, k), np.nan)
        self.evaluations = np.zeros(k, int)

    def radii(self, which: NDArray[np.int64]) -> Array:
        """Where to evaluate next, (j,)."""
        return np.exp(self.x[which])

    def update(self, which: NDArray[np.int64], change: Array) -> None:
        """Take the changes (j,) of the loss at `radii(which)` and choose the next points."""
        for i, value in zip(which, change, strict=True):
            self._update_one(int(i), float(value))

    def done(self, tolerance: float) -> NDArray[np.bool_]:
        """Which searches are over (k,): close enough, at the limit, or out of bracket."""
        with np.errstate(invalid="ignore"):
            close = np.abs(self.best[1] - self.cutoff) <= tolerance * self.cutoff
        scale = np.where(np.isfinite(self.low), np.maximum(np.abs(self.low), 1), 1)
        narrow = self.width <= np.maximum(NARROW * tolerance, EPSILON * scale)
        return close | narrow | self.unreached

    @property
    def unreached(self) -> NDArray[np.bool_]:
        """Which rays stay below the cutoff up to the limit (k,)."""
        return (self.low >= self.limit) & ~np.isfinite(self.high)

    def _update_one(self, i: int, value: float) -> None:
        x, self.evaluations[i] = self.x[i], self.evaluations[i] + 1
        # Where a model's numbers overflow, the loss has changed by more than the cutoff.
        y = np.inf if np.isnan(value) else (np.log(value / self.cutoff) if value > 0 else -np.inf)
        if not abs(value - self.cutoff) >= abs(self.best[1, i] - self.cutoff) and np.isfinite(value):
            self.best[:, i] = x, value
        side = -1.0 if y < 0 else 1.0
        if side < 0:
            self.low[i], self.y_low[i], self.w_low[i] = x, y, y
            self.w_high[i] = self.w_high[i] / 2 if self.side[i] == side else self.y_high[i]
        else:
            self.high[i], self.y_high[i], self.w_high[i] = x, y, y
            self.w_low[i] = self.w_low[i] / 2 if self.side[i] == side else self.y_low[i]
        self.side[i] = side
        if np.isfinite(self.low[i]) and np.isfinite(self.high[i]):
            width = self.high[i] - self.low[i]
            self.slow[i] = self.slow[i] + 1 if width > self.width[i] / 2 else 0
            self.width[i] = width
            self.x[i] = self._inside(i)
        else:
            self.x[i] = min(x + self._step(i, x, y), self.limit[i])
        self.previous[:, i] = x, y

    def _inside(self, i: int) -> float:
        """The next point of a bracket."""
        low, high = self.low[i], self.high[i]
        middle = (low + high) / 2
        if self.slow[i] >= 3 or not (np.isfinite(self.w_low[i]) and np.isfinite(self.w_high[i])):
            return middle
        x = low - self.w_low[i] * (high - low) / (self.w_high[i] - self.w_low[i])
        return x if low < x < high else middle

    def _step(self, i: int, x: float, y: float) -> float:
        """How far to move while all points are on one side of the cutoff: along the line, in growing steps."""
        last_x, last_y = self.previous[:, i]
        power = POWER
        if np.isfinite(last_y) and np.isfinite(y) and x != last_x:
            power = float(np.clip((y - last_y) / (x - last_x), POWER / 4, 4 * POWER))
        length = min(abs(y) / power, np.log(16))
        # Steps that fall short repeatedly do not follow a line: double them from the fourth on.
        length = max(length, 1e-3 * 2.0 ** (self.evaluations[i] - 4) if self.evaluations[i] >= 4 else 0.0)
        return -np.sign(y) * length


def find_crossings(
    change: Callable[[NDArray[np.int64], Array], Array],
    start: Array,
    limit: Array,
    cutoff: float,
    tolerance: float = 1e-3,
    most: int = 100,
) -> Crossings:
    """Find the radii at which the change of a loss meets a cutoff, at points where it was evaluated.

    Args:
        change: given numbers (j,) of rays and distances (j,), the change of the loss (j,) there. NaN and infinity
            count as above the cutoff.
        start: where to begin (k,).
        limit: the largest distance that matters (k,).
        cutoff: the change that ends the region.
        tolerance: how close the change must come to the cutoff, as a share of it.
        most: most evaluations of a ray; where they do not suffice, the closest one is taken, with a warning.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the loss does not go to zero at the centre.

    Example:
        >>> crossings = find_crossings(lambda which, r: 2 * r**2, np.array([0.01]), np.array([10.0]), cutoff=0.5)
        >>> crossings.radii.round(3), crossings.evaluations
        (array([0.5]), array([3]))
    """
    if not (0 < cutoff < np.inf and tolerance > 0 and most >= 1 and (start > 0).all() and np.isfinite(start).all()):
        raise ConfigError(
            f"cutoff={cutoff}, tolerance={tolerance}, most={most}: all must be positive, and start positive and finite"
        )
    search = RadiusSearch(np.asarray(start, float), np.asarray(limit, float), cutoff)
    for _ in range(most):
        which = np.flatnonzero(~search.done(tolerance))
        if not len(which):
            break
        search.update(which, np.asarray(change(which, search.radii(which)), float))
    unreached = search.unreached
    x, value = search.best
    lost = ~np.isfinite(search.low) & ~search.done(tolerance)
    if (~unreached & (lost | (x < np.log(start) + NEAREST))).any():
        raise DataError(
            f"cutoff={cutoff}: the loss changes by more than that however close to the centre; it must be a "
            "deterministic function, and the cutoff above its noise"
        )
    if (np.abs(value - cutoff)[~unreached] > tolerance * cutoff).any():
        # The text has no numbers, so that it is shown once; they are in `changes`.
        warnings.warn(
            f"at some radii the loss is not within tolerance={tolerance:g} of the cutoff, because it jumps there (in "
            "half precision it does); the radii themselves are as accurate as the jumps allow",
            stacklevel=2,
        )
    return Crossings(np.where(unreached, np.inf, np.exp(x)), value, ~unreached, search.evaluations)
