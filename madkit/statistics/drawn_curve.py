"""The ROC curve of one score, and what draws of the rows' masses make of it where false alarms are rare."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clusters import Groupings
from madkit.statistics.gap_masses import GapMasses, RowOrder
from madkit.statistics.interval import Interval
from madkit.statistics.roc_curve import threshold_counts

_Ints: TypeAlias = NDArray[np.int64]


class DrawnCurve:
    """The ROC curve of one score (n,), and what draws make of its statistics."""

    def __init__(
        self, row: NDArray[np.float64], anomalous: NDArray[np.bool_], groupings: Groupings, fpr: float
    ) -> None:
        false, true = threshold_counts(row, anomalous)
        # Thresholds between which only normal rows lie change none of the three.
        rises = np.diff(true) > 0
        bends = np.append(True, rises) | np.append(rises, True)
        false, true = false[bends], true[bends]
        n, m = int(false[-1]), int(true[-1])
        self.fpr, self.odds = fpr, n / m
        self.value = _statistics(false[None] / n, true[None] / m, _steps(false), fpr, self.odds)[0]
        self.order = RowOrder(np.argsort(-row, kind="stable"), anomalous, groupings, fpr)
        # At the low end the gap that is left over lies where it harms, at the high end where it helps.
        self.sides: list[tuple[_Ints, _Ints, _Ints]] = []
        for harm in (1, 0):
            at = np.concatenate([[0], false + harm, [n + 1]]), np.concatenate([[0], true + 1 - harm, [m + 1]])
            self.sides.append((*at, _steps(at[0])))
        self.found: tuple[list[np.ndarray], list[np.ndarray]] = [], []

    def draw(self, masses: GapMasses) -> None:
        """Add the statistics of some draws."""
        normal, other = masses.in_order(self.order)
        for (false, true, steps), found in zip(self.sides, self.found, strict=True):
            found.append(_statistics(normal.take(false, 1), other.take(true, 1), steps, self.fpr, self.odds))

    def intervals(self) -> list[Interval]:
        """Partial AUROC, TPR and average precision."""
        lower = np.minimum(self.value, np.quantile(np.concatenate(self.found[0]), self.order.level, axis=0))
        upper = np.maximum(self.value, np.quantile(np.concatenate(self.found[1]), 1 - self.order.level, axis=0))
        ends = zip(self.value.tolist(), lower.tolist(), upper.tolist(), strict=True)
        return [Interval(*three) for three in ends]


def _steps(false: _Ints) -> _Ints:
    """The corners (j,) of `false` positives (k,) that have none of the same number after them, ascending."""
    return np.append(np.flatnonzero(np.diff(false)), len(false) - 1)


def _statistics(fp: np.ndarray, tp: np.ndarray, steps: _Ints, fpr: float, odds: float) -> np.ndarray:
    """Partial AUROC, TPR and average precision (b, 3) of ROC curves.

    Args:
        fp: (b, k) false positive rates at the corners, up to a factor of each curve: the last one is 1.
        tp: (b, k) true positive rates, in the same way.
        steps: as `_steps` gives them.
        fpr: the highest false positive rate.
        odds: normal rows to anomalous ones.
    """
    all_false, all_true = fp[:, -1], tp[:, -1]
    highest = fpr * all_false[:, None]
    x = fp.take(steps, 1)
    inside = (x <= highest).sum(1)
    stop = min(int(inside.max()) + 1, len(steps))
    # Only between one step and the next corner is there an area.
    before = steps[: stop - 1]
    x, y, end = x[:, :stop], tp.take(before, 1), tp.take(before + 1, 1)
    width, part = np.diff(x), np.diff(np.minimum(x, highest))
    rise = (end - y) * np.divide(part, width, out=np.zeros_like(part), where=width > 0)
    area = (part * (y + rise / 2)).sum(1) / (all_false * all_true)
    chance = fpr**2 / 2
    partial = (1 + (area - chance) / (fpr - chance)) / 2
    # In place: a block stays in the processor's cache.
    precision = fp[:, 1:] * (odds * all_true / all_false)[:, None]
    precision += tp[:, 1:]
    np.divide(tp[:, 1:], precision, out=precision)
    average = np.einsum("bk,bk->b", tp[:, 1:] - tp[:, :-1], precision) / all_true
    columns = [partial, tp[np.arange(len(tp)), steps[inside - 1]] / all_true, average]
    # Sums of rates may end a rounding above 1.
    return np.minimum(np.column_stack(columns), 1)
