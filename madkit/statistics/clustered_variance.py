"""The variance of a mean whose rows are not independent, and how well it is known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clusters import Codes, intersection
from madkit.statistics.win_rates import WinRates


class Variance(NamedTuple):
    """Variances (k,) of estimates, and the degrees of freedom (k,) of Student's t that goes with each."""

    value: NDArray[np.float64]
    freedom: NDArray[np.float64]


class ClusterSums:
    """How far each cluster moves AUROCs: everything that clustered variances of them, and of differences, need.

    A cluster (a statement) may hold anomalous and normal rows: their errors are added before they are squared, so that
    what both have in common cancels or adds up as it should. With one grouping this is the variance of Obuchowski
    (1997); of clusters of one row, DeLong's. The sum of a cluster is divided by the root of 1 minus its share of the
    class (Bell and McCaffrey 2002), which is her factor I / (I - 1) for clusters of one size, and makes the variance
    unbiased for those of different sizes too.

    With several groupings that cross (statement and speaker) it is V_a + V_b - V_ab (Cameron, Gelbach and Miller 2011).
    What each further grouping adds, V_b - V_ab, counts where it is positive: it estimates the covariance of rows of one
    speaker, and noise must not make the interval narrower than statements alone do.

    Args:
        rates: what each row adds.
        anomalous: (n,) labels.
        groupings: of the rows.
    """

    def __init__(self, rates: WinRates, anomalous: NDArray[np.bool_], groupings: Sequence[Codes]) -> None:
        self.sums = [_sums(rates, anomalous, codes) for codes in groupings]
        self.cells = _sums(rates, anomalous, intersection(groupings)) if len(groupings) > 1 else None

    def variance(self, contrast: NDArray[np.float64] | None = None) -> Variance:
        """The variances of combinations (k, s) of the s AUROCs, or of each by itself, where none are given.

        NaN where a class has all its rows in one cluster.
        """

        def combined(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            return sums if contrast is None else contrast @ sums

        main = _squares(combined(self.sums[0]))
        if self.cells is None:
            return main
        cells = _squares(combined(self.cells)).value
        value, noise = main.value.copy(), main.value**2 / main.freedom
        for sums in self.sums[1:]:
            other = _squares(combined(sums))
            value += np.maximum(0, np.nan_to_num(other.value - cells))
            noise += np.nan_to_num(other.value**2 / other.freedom)
        with np.errstate(invalid="ignore", divide="ignore"):
            return Variance(value, np.maximum(1, value**2 / noise))


def _sums(rates: WinRates, anomalous: NDArray[np.bool_], codes: Codes) -> NDArray[np.float64]:
    """(s, clusters): what each cluster adds to each AUROC."""
    count = int(codes.max()) + 1
    total = np.zeros((len(rates.values), count))
    for kind in (anomalous, ~anomalous):
        weights = np.bincount(codes[kind], rates.weight[kind], count)
        share = weights / weights.sum()
        sums = np.stack([np.bincount(codes[kind], row, count) for row in rates.influence[:, kind]])
        with np.errstate(invalid="ignore", divide="ignore"):
            total += np.where(share < 1 - 1e-12, sums / np.sqrt(1 - share), np.nan)
    return total


def _squares(sums: NDArray[np.float64]) -> Variance:
    """Sums of squares over clusters. The fourth powers say how noisy these are: of n normal numbers, n degrees."""
    squares = sums**2
    value = squares.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = 3 * value**2 / (squares**2).sum(1) - 1
    return Variance(value, np.maximum(1, freedom))
