"""Bayesian bootstrap of rows in the order of a score: the share of all future rows that each gap stands for."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.clusters import Codes, Groupings
from madkit.statistics.distributions import normal_share, t_quantile

# Rows at an end of a class by which it is judged how many come together there.
_END = 20


class RowOrder:
    """Rows in descending order of a score, by class, and how they come together at the ends that matter.

    Args:
        order: (n + m,) the rows in that order.
        anomalous: (n + m,) labels.
        groupings: of the rows; none where they are independent.
        fpr: the share of normal rows that matters.
    """

    def __init__(
        self, order: NDArray[np.int64], anomalous: NDArray[np.bool_], groupings: Groupings, fpr: float
    ) -> None:
        kinds = anomalous[order]
        self.normal, self.anomalous = order[~kinds], order[kinds]
        # With the place in which `GapMasses` has the gap that is left over.
        self.gaps = np.append(self.normal, len(order)), np.append(self.anomalous, len(order))
        self.clumps: list[float] = []
        self.level = 0.025
        """The share of the draws that is left out at each end of the interval: 2.5% where many clusters decide.

        The normal rows at the high end, which decide on the threshold, may be of few clusters. Then it is as much as a
        normal distribution has beyond Student's t, with one degree of freedom less than these clusters.
        """
        if groupings:
            top = self.normal[: _end(len(self.normal), fpr)]
            bottom = self.anomalous[len(self.anomalous) - _end(len(self.anomalous), fpr) :]
            self.clumps = [_clump(top, groupings), _clump(bottom, groupings)]
            fewest = min(len(np.unique(codes[top])) for codes in groupings)
            self.level = _level(fewest)


@cache
def _level(clusters: int) -> float:
    """As much as a normal distribution has beyond the quantile of Student's t; looked up again for every score."""
    return float(normal_share(-t_quantile(0.975, max(clusters, 2) - 1)))


class GapMasses:
    """Some draws of the masses of all rows; those of the gaps follow for each order of the rows.

    Every row has an exponential weight (Rubin 1981). Rows that belong together share it, normal and anomalous: whole
    clusters come and go. Where groupings cross, a row's weight is the product of those of its clusters (Owen and Eckles
    2012). The gap that is left over, beyond what was seen, is as wide as the rows are many that come together at that
    end: of normal rows at the high end, of anomalous rows at the low end. Where they come one by one, it is one row.

    Args:
        draws: how many.
        anomalous: (n + m,) labels.
        groupings: of the rows; none where they are independent.
        generator: of random numbers.
    """

    def __init__(
        self, draws: int, anomalous: NDArray[np.bool_], groupings: Groupings, generator: np.random.Generator
    ) -> None:
        if groupings:
            rows = np.ones((draws, len(anomalous)))
            for codes in groupings:
                rows *= generator.standard_exponential((draws, int(codes.max()) + 1)).take(codes, 1)
            # Draws side by side: rows are chosen, and summed, by the cache line. The last place is the gap left over's.
            self.weights = np.empty((len(anomalous) + 1, draws))
            self.weights[:-1] = rows.T
            self.beyond = [generator.standard_exponential(draws) for _ in range(2)]
        else:
            # Whatever the order, the first row has the first weight: all scores have the same gaps.
            n, m = int((~anomalous).sum()), int(anomalous.sum())
            drawn = [generator.standard_exponential((draws, k + 1)) for k in (n, m)]
            normal, other = (_cumulated(np.ascontiguousarray(each.T)) for each in drawn)
            self.gaps = normal, other

    def in_order(self, order: RowOrder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Masses (n + 2, draws) of the first 0 to n + 1 gaps between normal rows, and so of anomalous ones.

        They are up to a factor of each draw: the last one is 1.
        """
        if not order.clumps:
            return self.gaps
        sums = []
        for rows, clump, beyond in zip(order.gaps, order.clumps, self.beyond, strict=True):
            np.multiply(beyond, clump, out=self.weights[-1])
            sums.append(_cumulated(self.weights.take(rows, 0)))
        return sums[0], sums[1]


def _cumulated(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (k + 1, draws) of the first 0 to k weights (k, draws)."""
    # Here and not above, since reading results needs none of it. It adds up twice as fast as numpy, in the same order.
    import torch

    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    torch.cumsum(torch.from_numpy(weights), 0, out=torch.from_numpy(sums)[1:])
    return sums


def _end(n: int, fpr: float) -> int:
    return min(n, max(_END, int(np.ceil(fpr * n))))


def _clump(rows: NDArray[np.int64], groupings: Sequence[Codes]) -> float:
    """Mean number of rows that come together, in the grouping where it is largest."""
    return max(len(rows) / len(np.unique(codes[rows])) for codes in groupings)
