"""The ROC curve of one score, and what draws of the rows' masses make of it where false alarms are rare."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clusters import Groupings
from madkit.statistics.gap_masses import GapMasses, RowOrder
from madkit.statistics.interval import Interval
from madkit.statistics.roc_curve import counts_in_order

_Ints: TypeAlias = NDArray[np.int64]
_Masses: TypeAlias = NDArray[np.float64]


class _Corners(NamedTuple):
    """Corners of a ROC curve, as the numbers of gaps between normal and between anomalous rows before each."""

    false: _Ints
    true: _Ints
    steps: _Ints
    """The corners that have none with as many normal gaps after them, ascending."""
    rises: _Ints
    """Those before which there are more anomalous gaps than before the last one: average precision sums over them."""

    @classmethod
    def at(cls, false: _Ints, true: _Ints) -> "_Corners":
        steps = np.append(np.flatnonzero(np.diff(false)), len(false) - 1)
        return cls(false, true, steps, np.flatnonzero(np.diff(true)) + 1)


class DrawnCurve:
    """The ROC curve of one score (n,), and what draws make of its statistics."""

    def __init__(
        self, row: NDArray[np.float64], anomalous: NDArray[np.bool_], groupings: Groupings, fpr: float
    ) -> None:
        order = np.argsort(-row, kind="stable")
        false, true = counts_in_order(row[order], anomalous[order])
        # Thresholds between which only normal rows lie change none of the three.
        rises = np.diff(true) > 0
        bends = np.append(True, rises) | np.append(rises, True)
        false, true = false[bends], true[bends]
        n, m = int(false[-1]), int(true[-1])
        self.fpr, self.odds = fpr, n / m
        normal, other = (np.arange(k + 1)[:, None] / k for k in (n, m))
        self.value = _statistics(normal, other, [_Corners.at(false, true)], fpr, self.odds)[0][0]
        self.order = RowOrder(order, anomalous, groupings, fpr)
        # At the low end the gap that is left over lies where it harms, at the high end where it helps.
        self.sides: list[_Corners] = []
        for harm in (1, 0):
            at = np.concatenate([[0], false + harm, [n + 1]]), np.concatenate([[0], true + 1 - harm, [m + 1]])
            self.sides.append(_Corners.at(*at))
        self.found: tuple[list[np.ndarray], list[np.ndarray]] = [], []

    def draw(self, masses: GapMasses) -> None:
        """Add the statistics of some draws."""
        parts = _statistics(*masses.in_order(self.order), self.sides, self.fpr, self.odds)
        for found, part in zip(self.found, parts, strict=True):
            found.append(part)


def intervals(curves: Sequence[DrawnCurve]) -> list[list[Interval]]:
    """Partial AUROC, TPR and average precision of each curve."""
    ends = [np.empty((len(curves), 3)) for _ in range(2)]
    levels = np.array([curve.order.level for curve in curves])
    # Many quantiles at once: of three columns most of the time is the call's.
    for level in np.unique(levels):
        chosen = np.flatnonzero(levels == level).tolist()
        for side, at in enumerate((level, 1 - level)):
            found = np.stack([np.concatenate(curves[i].found[side]) for i in chosen], axis=1)
            ends[side][chosen] = np.quantile(found, at, axis=0)
    values = np.array([curve.value for curve in curves])
    columns = np.stack([values, np.minimum(values, ends[0]), np.maximum(values, ends[1])], axis=2)
    return [[Interval(*three) for three in curve] for curve in columns.tolist()]


def _statistics(
    normal: _Masses, other: _Masses, sides: Iterable[_Corners], fpr: float, odds: float
) -> list[NDArray[np.float64]]:
    """Partial AUROC, TPR and average precision (b, 3) of b ROC curves, for each choice of their corners.

    Args:
        normal: (n, b) mass of the first 0 to n - 1 gaps between normal rows, up to a factor of each curve.
        other: (m, b) that between anomalous rows, in the same way.
        sides: the corners.
        fpr: the highest false positive rate.
        odds: normal rows to anomalous ones.
    """
    all_false, all_true = normal[-1], other[-1]
    highest = fpr * all_false
    reach = _reach(normal, highest)
    rises, gains, scaled = None, np.empty(0), np.empty(0)
    parts = []
    for corners in sides:
        partial, tpr = _at_low_rates(normal, other, corners, highest, reach, fpr)
        # With true positives in units of false ones the precision is t / (t + f). Both sides rise alike without ties.
        if rises is None or not np.array_equal(rises, corners.true[corners.rises]):
            rises = corners.true[corners.rises]
            mass = _rows(other, rises)
            scaled = mass / (odds * all_true / all_false)
            gains = mass.copy()
            gains[1:] -= mass[:-1]
            gains *= scaled
        # In place: a block stays in the processor's cache.
        precision = _rows(normal, corners.false[corners.rises]) + scaled
        np.divide(gains, precision, out=precision)
        average = precision.sum(0) / all_true
        # Sums of rates may end a rounding above 1.
        parts.append(np.minimum(np.column_stack([partial, tpr, average]), 1))
    return parts


def _at_low_rates(
    normal: _Masses, other: _Masses, corners: _Corners, highest: NDArray[np.float64], reach: int, fpr: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Partial AUROC and TPR (b,), which depend on the corners up to the gap `reach` alone, and on the one after it."""
    all_false, all_true = normal[-1], other[-1]
    false, true, steps, _ = corners
    steps = steps[: int(np.searchsorted(false[steps], reach, "right")) + 1]
    x = _rows(normal, false[steps])
    inside = (x <= highest).sum(0)
    stop = min(int(inside.max()) + 1, len(steps))
    # Only between one step and the next corner is there an area.
    before = steps[: stop - 1]
    x, y, end = x[:stop], _rows(other, true[before]), _rows(other, true[before + 1])
    width, part = np.diff(x, axis=0), np.diff(np.minimum(x, highest), axis=0)
    rise = (end - y) * np.divide(part, width, out=np.zeros_like(part), where=width > 0)
    area = (part * (y + rise / 2)).sum(0) / (all_false * all_true)
    chance = fpr**2 / 2
    partial = (1 + (area - chance) / (fpr - chance)) / 2
    return partial, other[true[steps[inside - 1]], np.arange(other.shape[1])] / all_true


def _reach(normal: _Masses, highest: NDArray[np.float64]) -> int:
    """A gap beyond which the mass of every curve is larger than `highest` (b,)."""
    reach = 32
    while reach < len(normal) and not (normal[reach] > highest).all():
        reach *= 2
    return min(reach, len(normal) - 1)


def _rows(masses: _Masses, at: _Ints) -> _Masses:
    """Some rows in ascending order, without a copy where none is left out."""
    if len(at) and at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():
        return masses[at[0] : at[-1] + 1]
    return masses.take(at, 0)
