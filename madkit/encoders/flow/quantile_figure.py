"""The quantile-quantile plot that compares a flow's z with its prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def laplace_quantiles(values: NDArray[np.floating], points: int = 400) -> tuple[NDArray, NDArray]:
    """Quantiles of Laplace(0, 1) and of the values at the same probabilities.

    Args:
        values: (n,).
        points: how many; the outermost ones are half a value from the ends.

    Example:
        >>> expected, observed = laplace_quantiles(np.array([-1.0, 0.0, 1.0]), points=3)
        >>> expected.round(2).tolist(), observed.round(2).tolist()
        ([-1.1, 0.0, 1.1], [-0.67, 0.0, 0.67])
    """
    from scipy.stats import laplace

    share = np.linspace(0.5, points - 0.5, points) / points
    # Half of the points are spent on the tails, spaced by a constant factor, because deviations show there.
    edge = 0.5 / max(len(values), points)
    tail = np.geomspace(edge, 0.1, points // 4) if points >= 4 else np.zeros(0)
    share = np.sort(np.concatenate([share, tail, 1 - tail]))
    return laplace.ppf(share), np.quantile(values, share)


def quantile_figure(values: NDArray[np.floating], title: str) -> Figure:
    """Quantiles of all coordinates of z against those of the prior; the diagonal is perfect."""
    from matplotlib.figure import Figure

    expected, observed = laplace_quantiles(values)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(expected, expected, color="0.7", linewidth=1, label="the prior")
    axes.plot(expected, observed, ".", markersize=3, label="z")
    axes.set(xlabel="quantiles of Laplace(0, 1)", ylabel="quantiles of z", title=title)
    axes.legend()
    return figure
