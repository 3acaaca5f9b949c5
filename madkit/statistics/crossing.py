"""At which dose does a response reach a level? By monotone regression, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.errors import DataError
from madkit.statistics.interval import Z_95, Interval


def crossing(
    dose: Sequence[Interval], response: Sequence[Interval], level: float, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """The dose at which the response reaches a level for the first time.

    The responses are made monotone in the dose by isotonic regression (pool adjacent violators; every dose counts the
    same), and read off between doses by linear interpolation. The interval is a parametric bootstrap: each draw moves
    all doses by one normal deviate and all responses by another one, each in units of its own interval. So errors are
    taken to be the same at all doses, which is what the same prompts bring about, and is the wider interval: errors of
    their own would partly cancel.

    Args:
        dose: of each point, its value with its 95% interval.
        response: the same of the response at that dose.
        level: of the response.
        draws: number of bootstrap draws.
        seed: the same seed gives the same interval.

    Returns:
        minus infinity for a response that is as high from the lowest dose on, infinity for one that never is. Ends of
        the interval may be infinite as well.

    Raises:
        DataError: fewer than two doses, lengths that differ, or a NaN.

    Example:
        >>> sure = lambda value: Interval(value, value, value)
        >>> crossing([sure(0.0), sure(1.0), sure(2.0)], [sure(0.5), sure(0.8), sure(1.0)], 0.9).value
        1.5
    """
    x, y = np.asarray(dose, dtype=np.float64), np.asarray(response, dtype=np.float64)
    if x.shape != y.shape or len(x) < 2:
        raise DataError(f"dose and response have {len(x)} and {len(y)} points: give as many of both, two or more")
    if np.isnan(x).any() or np.isnan(y).any():
        raise DataError("dose or response holds NaN: leave out the points that were not measured")
    deviates = np.random.default_rng(seed).standard_normal((draws, 2))
    found = np.array([_reached(_moved(x, a), _moved(y, b), level) for a, b in deviates])
    # Infinite values cannot be interpolated between.
    low, high = np.quantile(found, [0.025, 0.975], method="closest_observation")
    value = _reached(x[:, 0], y[:, 0], level)
    return Interval(value, float(min(low, value)), float(max(high, value)))


def monotone(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in the order of x, and the isotonic regression of y on x.

    Example:
        >>> [values.tolist() for values in monotone([0.0, 2.0, 1.0], [1.0, 2.0, 3.0])]
        [[0.0, 1.0, 2.0], [1.0, 2.5, 2.5]]
    """
    # Here and not above: importing it takes longer than most of what needs no doses.
    from scipy.optimize import isotonic_regression

    order = np.argsort(np.asarray(x), kind="stable")
    return np.asarray(x, dtype=float)[order], isotonic_regression(np.asarray(y, dtype=float)[order]).x


def _moved(intervals: NDArray[np.float64], deviate: float) -> NDArray[np.float64]:
    """The values (n,), each moved by a share of the half of its interval (n, 3) on that side."""
    value, low, high = intervals.T
    return np.asarray(value + deviate / Z_95 * np.where(deviate > 0, high - value, value - low))


def _reached(x: NDArray[np.float64], y: NDArray[np.float64], level: float) -> float:
    x, y = monotone(x, y)
    above = np.flatnonzero(y >= level)
    if not len(above):
        return math.inf
    first = int(above[0])
    if first == 0:
        return -math.inf
    share = (level - y[first - 1]) / (y[first] - y[first - 1])
    return float(x[first - 1] + share * (x[first] - x[first - 1]))
