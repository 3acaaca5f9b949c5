"""What a family of figures is: a function from results to named sheets, registered by a decorator."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from matplotlib.figure import Figure

from madkit.figures.results.results import Results
from madkit.figures.tables.document import Document

SECTIONS = (
    "How well detectors do",
    "How detectors compare",
    "How quirky the models are",
    "What explains detection",
    "How the models were trained",
)
"""The report's sections of figures, in order; a family may name another, which comes after them."""


class Sheet(NamedTuple):
    """One thing to write: a figure under a stem, or a text or document under a full file name."""

    name: str
    """A stem such as ``fig07_auroc_vs_quirkiness`` for a figure; ``table1.md`` for a text."""
    body: Figure | Document | str
    """A matplotlib figure, saved once per format; tables with words; or the text of the file."""
    model: str | None = None
    """The one model that the sheet is about: only its folders are named as its sources."""
    aside: bool = False
    """A figure for the report alone, such as the lesser detectors of a crowded page."""


Draw = Callable[[Results], Iterator[Sheet]]


class Artist(NamedTuple):
    """A registered family."""

    draw: Draw
    """Yields nothing when the results lack what it needs."""
    place: float
    """Families are drawn in the order of their places; those of the studies' figures are the figures' numbers."""
    section: str


ARTISTS: list[Artist] = []
MARKERS: set[str] = {"detection/results.parquet", "history.parquet"}
"""Files by which a folder is known to hold results."""


def artist(place: float, section: str, reads: tuple[str, ...] = ()) -> Callable[[Draw], Draw]:
    """Register a generator of sheets.

    Args:
        place: where it comes in the order of families.
        section: the part of the report its figures stand in, one of `SECTIONS` or a new one.
        reads: tables of its own that result folders may hold, such as ``poser/scores.parquet``. A folder that
            has one is a result folder, and `Results.table` reads it.
    """
    MARKERS.update(reads)

    def register(draw: Draw) -> Draw:
        ARTISTS.append(Artist(draw, place, section))
        return draw

    return register
