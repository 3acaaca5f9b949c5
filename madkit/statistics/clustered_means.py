"""Means of rows that may belong together: a bootstrap of clusters, and how many independent rows they are worth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from madkit.statistics.bootstrap import resampled_means
from madkit.statistics.clusters import Codes, intersection

# Resamples that are held at once.
_BLOCK = 250


def cluster_means(
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.float64]]],
    groupings: Sequence[Codes],
    draws: int,
    generator: np.random.Generator,
) -> list[NDArray[np.float64]]:
    """Means of columns of rows, if rows or whole clusters are drawn with replacement; NaN where no row is drawn.

    Where groupings cross, a row is in a resample as often as the product of how often its clusters are (Owen 2007, "The
    pigeonhole bootstrap"). A part that is one row, or all of one cluster, has the same mean in every resample, which
    says nothing of other rows: its means are NaN.

    Args:
        parts: each a mask of the rows (n,) and their columns (m, c).
        groupings: of all rows (n,), whose clusters all parts share; none where rows are independent, which are drawn
            for each part by itself.
        draws: how many resamples.
        generator: of random numbers.

    Returns:
        Of each part (draws, c).
    """
    means = (
        _of_clusters(parts, groupings, draws, generator)
        if groupings
        else [resampled_means(columns, draws, generator) for _, columns in parts]
    )
    for (rows, _), found in zip(parts, means, strict=True):
        units = groupings[0][rows] if groupings else np.arange(rows.sum())
        if (units == units[0]).all():
            found[:] = np.nan
    return means


def _of_clusters(
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.float64]]],
    groupings: Sequence[Codes],
    draws: int,
    generator: np.random.Generator,
) -> list[NDArray[np.float64]]:
    found: list[list[NDArray[np.float64]]] = [[] for _ in parts]
    for start in range(0, draws, _BLOCK):
        size = min(_BLOCK, draws - start)
        counts = np.ones((size, len(groupings[0])))
        for codes in groupings:
            clusters = int(codes.max()) + 1
            counts *= generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=size)[:, codes]
        for (rows, columns), means in zip(parts, found, strict=True):
            own = counts[:, rows]
            with np.errstate(invalid="ignore"):
                means.append((own @ columns) / own.sum(1, keepdims=True))
    return [np.concatenate(means) for means in found]


def independent_share(right: NDArray[np.float64], groupings: Sequence[Codes]) -> float:
    """How many independent rows say as much about the mean of `right` (n,), numbers in 0 to 1, as these do.

    The number of rows over the design effect (Kish 1965), from as many as there are clusters of the first grouping to
    all of them. Where all rows are equal, or of one cluster, nothing shows how much clusters matter, and each cluster
    counts once.
    """
    return independent_shares(right[None], groupings)[0]


def independent_shares(columns: NDArray[np.float64], groupings: Sequence[Codes]) -> list[float]:
    """The same of each of several columns (s, n) of the same rows."""
    compact = [np.unique(codes, return_inverse=True)[1] for codes in groupings]
    cells = np.unique(intersection(groupings), return_inverse=True)[1] if len(groupings) > 1 else None
    return [_independent_share(column, compact, cells) for column in columns]


def _independent_share(right: NDArray[np.float64], groupings: Sequence[Codes], cells: Codes | None) -> float:
    n, clusters = len(right), int(groupings[0].max()) + 1
    residuals = right - right.mean()
    alone = float(residuals @ residuals)
    if alone == 0 or clusters == 1:
        return float(clusters)
    parts = [_squared_sums(residuals, codes) for codes in groupings]
    shared = _squared_sums(residuals, cells) if cells is not None else 0.0
    together = parts[0] + sum(max(0.0, part - shared) for part in parts[1:])
    return float(np.clip(n * alone / together if together > 0 else n, min(clusters, n), n))


def _squared_sums(residuals: NDArray[np.float64], codes: Codes) -> float:
    """Of codes without gaps, unbiased for their number."""
    sums = np.bincount(codes, residuals)
    return float(sums @ sums) * len(sums) / max(1, len(sums) - 1)
