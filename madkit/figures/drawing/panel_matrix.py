"""A page with a row of panels per feature and a column per dataset, for any number of datasets."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.style import PANEL

FEW_COLUMNS = 6
"""Up to so many columns there is room for wide panels."""
MOST_COLUMNS = 12
"""Panels side by side."""


def panel_matrix(
    title: str,
    subtitle: str,
    rows: Sequence[str],
    columns: Sequence[str],
    present: Collection[tuple[str, str]],
    labels: tuple[str, str],
    legends: Sequence[Sequence[Artist]] = (),
    shared: bool = True,
    panel: tuple[float, float] | None = None,
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A page of panels under a header; rows are named at the left, columns at the top.

    Args:
        title: what is plotted.
        subtitle: what the marks, bars and bands are, with n.
        rows: names of the rows.
        columns: names of the columns; more than twelve go on below.
        present: the pairs of row and column that have something to show; the others stay empty.
        labels: of the horizontal and the vertical axis.
        legends: handles with labels; each group starts a new line.
        shared: whether the panels of a row have the same axes.
        panel: width and height of a panel in inches; by the number of columns if not given.

    Returns:
        The figure, and the axes of each pair in `present`.
    """
    wrapped = len(columns) > MOST_COLUMNS
    blocks = [PanelBlock(list(columns), "", f"{name.replace('_', ' ')}\n{labels[1]}", shared=shared) for name in rows]
    if not wrapped:
        # The names of the columns once, at the top, and those of the axis once, at the bottom.
        blocks = [blocks[0], *(replace(block, panels=[""] * len(columns)) for block in blocks[1:])]
    blocks[-1] = replace(blocks[-1], xlabel=labels[0])
    size = panel or (PANEL["small"] if len(columns) <= FEW_COLUMNS else PANEL["narrow"])
    figure, axes = panel_page(title, subtitle, blocks, legends, size, columns=MOST_COLUMNS)
    panels: dict[tuple[str, str], Axes] = {}
    for name, row in zip(rows, axes, strict=True):
        for column, ax in zip(columns, row, strict=True):
            if (name, column) in present:
                panels[name, column] = ax
            else:
                # Not invisible: the column keeps its title.
                ax.set_facecolor("none")
                ax.text(0.5, 0.5, "no result", ha="center", va="center", transform=ax.transAxes, size=6, color="0.5")
                ax.grid(visible=False)
    return figure, panels
