"""One look for every figure: colours, markers, fonts and sizes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.colors

from madkit.figures.published.names import position, published_order
from madkit.figures.results.results import ordered_datasets

# Okabe and Ito's palette, safe for colour-blind readers; its yellow is left out, being unreadable on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5B3A8C", "#000000")
GREY = "#8A8A8A"
FAINT = "#D9D9D9"
INK = "#222222"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h")

DPI = 200
"""Dots per inch of pictures, for which pages are laid out too: letters on few dots are of another width."""
SIZES = {"title": 11.0, "text": 9.0, "small": 7.5}
"""Font sizes in points: the figure's title; axes and panel titles; ticks, legends and notes."""
PANEL = {"narrow": (1.35, 1.3), "small": (2.05, 1.4), "medium": (2.9, 2.3), "large": (4.2, 3.2)}
"""Width and height of one panel in inches."""

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": SIZES["text"],
    "axes.titlesize": SIZES["text"],
    "axes.labelsize": SIZES["text"],
    "xtick.labelsize": SIZES["small"],
    "ytick.labelsize": SIZES["small"],
    "legend.fontsize": SIZES["small"],
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#EEEEEE",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "figure.dpi": DPI,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.07,  # inches
    "text.parse_math": False,  # names may hold dollar signs
    "svg.hashsalt": "madkit",  # otherwise the identifiers in an SVG are random
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in madkit's style whatever the user's matplotlibrc says, and leave that as it was."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def model_colors(models: Sequence[str]) -> dict[str, str]:
    """One colour per model, the same in every figure of one call."""
    return {model: PALETTE[index % len(PALETTE)] for index, model in enumerate(sorted(set(models)))}


def dataset_markers(datasets: Sequence[str]) -> dict[str, str]:
    """One marker per dataset; those of the study keep theirs whatever else is drawn."""
    of_study = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(published_order("dataset"))}
    others = ordered_datasets(set(datasets) - set(of_study))
    return of_study | {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(others)}


class LineStyle(NamedTuple):
    """How a score's line is drawn in a model's colour."""

    color: str
    line: str
    marker: str
    filled: bool

    @property
    def face(self) -> str:
        """The colour of the inside of a marker."""
        return self.color if self.filled else "white"


def line_styles(scores: Iterable[str], color: str) -> dict[str, LineStyle]:
    """A style per score in shades of one colour: they differ in lightness, line and marker, not in hue.

    Example:
        >>> [style.line for style in line_styles(["lof", "mahalanobis"], "#0072B2").values()]
        ['-', '--']
    """
    names = sorted(set(scores), key=lambda name: position("score", name))
    light, dark = _mixed(color, "#FFFFFF", 0.45), _mixed(color, "#000000", 0.55)
    styles: list[tuple[str, Any, str, bool]] = [
        (color, "-", "o", True),
        (dark, "--", "s", False),
        (light, "-", "^", True),
        (dark, ":", "D", True),
        (light, "-.", "v", False),
        (color, (0, (1, 1)), "P", True),
        (dark, "-", "X", False),
        (light, "--", "<", True),
        (color, "-.", ">", False),
        (dark, (0, (5, 1, 1, 1)), "*", True),
    ]
    return {name: LineStyle(*styles[index % len(styles)]) for index, name in enumerate(names)}


def _mixed(color: str, other: str, share: float) -> str:
    pairs = zip(mpl.colors.to_rgb(color), mpl.colors.to_rgb(other), strict=True)
    red, green, blue = (a + share * (b - a) for a, b in pairs)
    return mpl.colors.to_hex((red, green, blue))
