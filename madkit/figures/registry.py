"""What a family of figures is: a function from results to named sheets, registered by a decorator."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from matplotlib.figure import Figure

from madkit.figures.results import Results


class Sheet(NamedTuple):
    """One thing to write: a figure under a stem, or a text under a full file name."""

    name: str
    """A stem such as ``fig07_auroc_vs_quirkiness`` for a figure; ``table1.md`` for a text."""
    body: Figure | str
    """A matplotlib figure, saved once per format, or the text of the file."""


Artist = Callable[[Results], Iterator[Sheet]]

ARTISTS: list[Artist] = []


def artist(function: Artist) -> Artist:
    """Register a generator of sheets; it yields nothing when the results lack what it needs."""
    ARTISTS.append(function)
    return function
