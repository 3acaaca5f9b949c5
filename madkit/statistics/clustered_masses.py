"""Bayesian bootstrap of rows that belong together: what share of all future rows each stands for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from madkit.statistics.clusters import Codes

# Rows at an end of a class by which it is judged how many come together there.
_END = 20


def clustered_masses(
    draws: int,
    anomalous: NDArray[np.bool_],
    groupings: Sequence[Codes],
    fpr: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability of the first 0 to n + 1 gaps between normal rows (draws, n + 2), and so of anomalous ones.

    Every cluster gets one exponential weight (Rubin 1981), which all its rows share, normal and anomalous: whole
    clusters come and go. Where groupings cross, a row's weight is the product of those of its clusters (Owen and Eckles
    2012). The gap that is left over, beyond what was seen, is as wide as the rows are many that come together at that
    end: of normal rows at the high end, of anomalous rows at the low end. Where they come one by one, it is one row.

    Args:
        draws: how many.
        anomalous: (n + m,) labels in descending order of the scores.
        groupings: (n + m,) clusters in that order.
        fpr: the share of normal rows that matters.
        generator: of random numbers.
    """
    weights = np.ones((draws, len(anomalous)))
    for codes in groupings:
        weights *= generator.standard_exponential((draws, int(codes.max()) + 1))[:, codes]
    masses = []
    for kind, normal in ((~anomalous, True), (anomalous, False)):
        own = weights[:, kind]
        n = own.shape[1]
        end = min(n, max(_END, int(np.ceil(fpr * n))))
        clump = max(_clump(codes[kind][:end] if normal else codes[kind][n - end :]) for codes in groupings)
        out = np.zeros((draws, n + 2))
        out[:, 1:-1] = own
        out[:, -1] = clump * generator.standard_exponential(draws)
        np.cumsum(out, axis=1, out=out)
        masses.append(out / out[:, -1:])
    return masses[0], masses[1]


def clustered_level(anomalous: NDArray[np.bool_], groupings: Sequence[Codes], fpr: float) -> float:
    """The share of the draws that is left out at each end of the interval: 2.5% where many clusters decide.

    The normal rows at the high end, which decide on the threshold, may be of few clusters. Then it is as much as a
    normal distribution has beyond Student's t, with one degree of freedom less than these clusters.

    Args:
        anomalous: (n + m,) labels in descending order of the scores.
        groupings: (n + m,) clusters in that order.
        fpr: the share of normal rows that matters.
    """
    n = int((~anomalous).sum())
    end = min(n, max(_END, int(np.ceil(fpr * n))))
    fewest = min(len(np.unique(codes[~anomalous][:end])) for codes in groupings)
    return float(norm.cdf(-t.ppf(0.975, max(fewest, 2) - 1)))


def _clump(codes: Codes) -> float:
    """Mean number of rows that come together."""
    return len(codes) / len(np.unique(codes))
