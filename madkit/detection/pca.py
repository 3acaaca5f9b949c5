"""What pictures of a site need: some test prompts in its two widest directions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.analysis.principal_components import first_principal_components
from madkit.errors import DataError

#: Prompts in a picture: more cannot be told apart, and memory holds them in float64.
MOST = 1000


class View(NamedTuple):
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


def view(rows: NDArray[np.int64], x: NDArray[np.float64]) -> View:
    """Project vectors x (n, d) of prompts `rows` (n,); a site whose vectors are all equal is a single point."""
    try:
        found = first_principal_components(x)
    except DataError:
        return View(rows, np.zeros((len(rows), 2)), np.zeros(2))
    return View(rows, *found)


def table(views: dict[tuple[str, str], View], layers: dict[str, int | None]) -> pd.DataFrame:
    """One line per feature, site and prompt: feature, site, layer, row, first, second, first_share, second_share."""
    parts = []
    for (feature, site), found in views.items():
        columns = {"row": found.rows, "first": found.scores[:, 0], "second": found.scores[:, 1]}
        part = pd.DataFrame(columns).astype({"first": np.float32, "second": np.float32})
        layer = pd.array([pd.NA if layers[site] is None else layers[site]] * len(part), dtype="Int64")
        first, second = found.shares.tolist()
        parts.append(part.assign(feature=feature, site=site, layer=layer, first_share=first, second_share=second))
    order = ["feature", "site", "layer", "row", "first", "second", "first_share", "second_share"]
    return pd.concat(parts, ignore_index=True)[order]
