"""The layout all figures share: a header that explains the marks, then blocks of equal panels."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from madkit.figures.drawing.style import PANEL, SIZES

_NARROWEST = 6.4  # inches: a header needs this much also above a single panel
_SIDE = 0.7  # inches for the axis labels of a block
_LINE = 0.25  # inches for a line of text
_PAD = 0.12


@dataclass(frozen=True)
class PanelBlock:
    """A titled group of similar panels with common axes, such as one score on every dataset."""

    panels: Sequence[str]
    """The title of each panel."""
    xlabel: str
    ylabel: str
    title: str = ""
    shared: bool = True
    """Whether the panels have the same axes; False where they differ by nature, such as training steps."""


def panel_page(
    title: str,
    subtitle: str,
    blocks: Sequence[PanelBlock],
    legends: Sequence[Sequence[Artist]] = (),
    panel: tuple[float, float] = PANEL["small"],
    columns: int = 6,
) -> tuple[Figure, list[list[Axes]]]:
    """A page of equal panels, wrapped at `columns`, under a header.

    Args:
        title: what is plotted.
        subtitle: what the marks, bars and bands are, with n; wrapped to the page.
        blocks: from top to bottom; the panels of a block share its labels.
        legends: handles with labels, for all panels; each group starts a new line.
        panel: width and height of a panel in inches.
        columns: the most panels side by side.

    Returns:
        The figure, and for each block its axes in the order of its panels.
    """
    most = max(len(block.panels) for block in blocks)
    # Rows of equal length: eight panels are 4 + 4 and not 6 + 2.
    width = math.ceil(most / math.ceil(most / columns))
    rows = [math.ceil(len(block.panels) / width) for block in blocks]
    page_width = max(width * panel[0] + _SIDE, _NARROWEST)
    header = _Header(title, subtitle, legends, page_width)
    heights = [
        header.height,
        *(n * (panel[1] + _title_lines(b)) + _margins(b) for n, b in zip(rows, blocks, strict=True)),
    ]
    figure = Figure(figsize=(page_width, sum(heights)))
    figure.set_label(title)  # what the report calls it
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, hspace=0, squeeze=False)[:, 0]
    header.draw(parts[0])
    return figure, [_add_panels(part, block, n, width) for part, block, n in zip(parts[1:], blocks, rows, strict=True)]


def _margins(block: PanelBlock) -> float:
    """Inches for the words around a block's panels."""
    titled = any(block.panels)
    lines = bool(block.title) + bool(block.xlabel) + titled
    return _SIDE - 2 * _LINE + _LINE * lines


def _title_lines(block: PanelBlock) -> float:
    """Inches for the lines of panel titles after the first."""
    return 0.17 * max((title.count("\n") for title in block.panels), default=0)


class _Header:
    """Title, subtitle and legends, wrapped so that nothing leaves the page."""

    def __init__(self, title: str, subtitle: str, legends: Sequence[Sequence[Artist]], width: float) -> None:
        self.width = width
        # A point is 1/72 inch; a letter of this font is about 0.66 (bold) or 0.55 times as wide as its size.
        title_lines = textwrap.wrap(title, int(72 * (width - 2 * _PAD) / (0.66 * SIZES["title"])))
        subtitle_lines = textwrap.wrap(subtitle, int(72 * (width - 2 * _PAD) / (0.55 * SIZES["small"])))
        self.texts = [
            ("\n".join(title_lines), SIZES["title"], "bold", 0.2 * len(title_lines) + 0.03),
            ("\n".join(subtitle_lines), SIZES["small"], "normal", 0.15 * len(subtitle_lines) + 0.1),
        ]
        self.legends = [(group, self._columns(group)) for group in legends if group]
        self.height = 2 * _PAD + sum(text[-1] for text in self.texts)
        self.height += sum(self._lines(group, columns) for group, columns in self.legends)

    def _columns(self, group: Sequence[Artist]) -> int:
        longest = max(len(str(handle.get_label())) for handle in group)
        entry = longest * 0.55 * SIZES["small"] / 72 + 0.5
        return max(1, min(len(group), int((self.width - 2 * _PAD) / entry)))

    @staticmethod
    def _lines(group: Sequence[Artist], columns: int) -> float:
        return 0.19 * math.ceil(len(group) / columns)

    def draw(self, part: SubFigure) -> None:
        """Write it from the top down."""
        left, top = _PAD / self.width, 1 - _PAD / self.height
        for text, size, weight, height in self.texts:
            part.text(left, top, text, size=size, weight=weight, va="top")
            top -= height / self.height
        for group, columns in self.legends:
            legend = part.legend(
                handles=list(group),
                ncols=columns,
                loc="upper left",
                bbox_to_anchor=(left, top),
                borderaxespad=0.0,
                borderpad=0.0,
                columnspacing=1.2,
                handlelength=1.8,
            )
            legend.set_in_layout(False)
            top -= self._lines(group, columns) / self.height


def _add_panels(part: SubFigure, block: PanelBlock, rows: int, width: int) -> list[Axes]:
    """The axes of a block's panels, without those that fill up its last row."""
    if block.title:
        part.suptitle(block.title, size=SIZES["text"], weight="bold")
    part.supxlabel(block.xlabel, size=SIZES["text"])
    part.supylabel(block.ylabel, size=SIZES["text"])
    axes = list(part.subplots(rows, width, squeeze=False, sharex=block.shared, sharey=block.shared).flat)
    for index, ax in enumerate(axes):
        if index >= len(block.panels):
            ax.set_visible(False)
            continue
        if block.panels[index]:
            ax.set_title(block.panels[index])
        # The lowest panel of each column carries the tick labels, also above a gap in the last row.
        ax.tick_params(labelbottom=not block.shared or index + width >= len(block.panels))
    return axes[: len(block.panels)]
