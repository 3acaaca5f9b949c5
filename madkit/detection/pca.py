"""Some test prompts of each site on its first two principal components, for figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.analysis.principal_components import first_principal_components
from madkit.detection.result_tables import layer_column
from madkit.detection.site_scores import SiteKey
from madkit.errors import DataError

#: Prompts in a figure: more cannot be told apart, and memory holds them in float64.
MOST = 1000


class Projection(NamedTuple):
    """Prompts of one site on its first two principal components."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    """(n, 2)."""
    shares: NDArray[np.float64]
    """(2,) of the variance of these prompts."""


def sample(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `MOST` of the prompts, evenly spaced in the order of their numbers, ascending.

    Example:
        >>> sample(np.array([5, 3, 4])).tolist()
        [3, 4, 5]
    """
    ordered = np.sort(rows)
    if len(ordered) <= MOST:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MOST).round().astype(np.int64)]


def project(rows: NDArray[np.int64], x: NDArray[np.float64]) -> Projection:
    """Project vectors x (n, d) of prompts `rows` (n,); a site whose vectors are all equal is a single point."""
    try:
        return Projection(rows, *first_principal_components(x))
    except DataError:
        return Projection(rows, np.zeros((len(rows), 2)), np.zeros(2))


def pca_table(projections: Mapping[SiteKey, Projection], layers: Mapping[SiteKey, int | None]) -> pd.DataFrame:
    """One row per feature, site and prompt.

    Returns:
        feature, adapter, site, layer, row, first, second, first_share, second_share.
    """
    parts = []
    for key, projection in projections.items():
        (feature, adapter), site = key
        columns = {"row": projection.rows, "first": projection.scores[:, 0], "second": projection.scores[:, 1]}
        part = pd.DataFrame(columns).astype({"first": np.float32, "second": np.float32})
        first, second = projection.shares.tolist()
        names = {"feature": feature, "adapter": adapter, "site": site, "layer": layer_column(layers[key], len(part))}
        parts.append(part.assign(**names, first_share=first, second_share=second))
    order = ["feature", "adapter", "site", "layer", "row", "first", "second", "first_share", "second_share"]
    return pd.concat(parts, ignore_index=True)[order]
