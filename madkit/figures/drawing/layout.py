"""Where everything on a page lies: computed once, and rounded."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike


def compute_layout(figure: Figure) -> None:
    """Place the axes and texts of a figure as its layout engine does; without drawing it, which takes as long again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def round_layout(part: Figure | SubFigure) -> None:
    """Round where subfigures, axes and texts lie to a millionth of the figure; the layout has placed all three.

    Its solver goes through its variables by their addresses in memory, and so the last digits vary from run to run.
    """
    for inner in part.subfigs:
        box = inner.bbox_relative
        box.p0, box.p1 = _rounded(box.p0), _rounded(box.p1)
        round_layout(inner)
    for axes in part.axes:
        if axes.figure is part:
            left, bottom, width, height = _rounded(axes.get_position(original=True).bounds)
            axes.set_position((left, bottom, width, height))
    for text in part.texts:
        text.set_position(_rounded(text.get_position()))


def _rounded(shares: ArrayLike) -> Any:
    # A share such as 0.0109375 lies in the middle of two. Rounded a little beside the middle, it goes one way.
    return np.round(np.asarray(shares, dtype=float) + 1.3e-7, 6)
