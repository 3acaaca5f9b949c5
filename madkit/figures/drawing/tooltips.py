"""What a reader learns by pointing at a figure: the data points, their positions on the page, and a text for each.

Positions are shares of the page's width and height from its upper left corner, so that they hold at any size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_ATTRIBUTE = "madkit_descriptions"
_MOST_POINTS = 400  # of one line: more cannot be told apart by pointing


def describe_points(line: Artist, descriptions: Sequence[str]) -> None:
    """Say what each point of a line stands for.

    Args:
        line: what `Axes.plot` returned.
        descriptions: one text for each of its points; an empty one for none.
    """
    setattr(line, _ATTRIBUTE, list(descriptions))


def data_points(figure: Figure) -> list[tuple[float, float, str]]:
    """The data points of a figure whose layout is settled: x and y as shares of the page, and a text.

    Points of lines without `describe_points` are described by the labels of their axes.
    """
    points: list[tuple[float, float, str]] = []
    width, height = figure.bbox.width, figure.bbox.height
    for ax in figure.axes:
        if not ax.get_visible():
            continue
        frame = ax.get_window_extent()
        for line in ax.lines:
            descriptions = getattr(line, _ATTRIBUTE, None) or _from_labels(ax, line)
            if descriptions is None:
                continue
            pixels = line.get_transform().transform(np.column_stack(line.get_data(orig=False)).astype(float))
            for (x, y), text in zip(pixels, descriptions, strict=True):
                inside = frame.x0 - 2 <= x <= frame.x1 + 2 and frame.y0 - 2 <= y <= frame.y1 + 2
                if inside and text:
                    points.append((round(x / width, 4), round(1 - y / height, 4), text))
    return points


def _from_labels(ax: Axes, line: Line2D) -> list[str] | None:
    """Title, series and values for lines that have a label; nothing for rules and grids."""
    label = str(line.get_label())
    x, y = (np.asarray(values) for values in line.get_data(orig=True))
    if label.startswith("_") or len(x) > _MOST_POINTS or not len(x):
        return None
    head = ", ".join(part for part in (ax.get_title().split("\n")[0], label) if part)
    return [f"{head}: {_short(a)}, {_short(b)}" for a, b in zip(x, y, strict=True)]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)
