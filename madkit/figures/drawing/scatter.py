"""What the scatter figures share: points with error bars, axes, a legend, and labels that do not collide."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from madkit.figures.drawing import style
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.results.results import Results, grouped, ordered_datasets

_LETTER = 0.62  # width of a letter over its size, for the room a label takes
_OFFSETS = [(6, 4), (6, -10), (-6, 4), (-6, -10), (0, 8), (0, -15), (10, -3), (-10, -3)]
"""Where a label may stand beside its point, in points; the first free position is taken."""


def scatter_legend(results: Results, points: pd.DataFrame, *, control: bool) -> list[list[Line2D]]:
    """A colour per model, a marker per dataset, and hollow grey for the control if there is one."""
    colors, markers = style.model_colors(results.models), style.dataset_markers(results.datasets)
    mark: dict[str, Any] = {"ls": "", "ms": 5.5}
    handles = [
        Line2D([], [], color=colors[model], marker="s", label=model, **mark) for model in sorted(set(points["model"]))
    ]
    if control:
        handles.append(Line2D([], [], color=style.GREY, marker="o", mfc="none", label="control: adapter off", **mark))
    datasets = [
        Line2D([], [], color=style.INK, marker=markers[name], mfc="none", label=name, **mark)
        for name in ordered_datasets(points["dataset"])
    ]
    return [handles, datasets]


def draw_points(
    ax: Axes, points: pd.DataFrame, results: Results, x: str, size: float, *, control: bool = False
) -> None:
    """Draw `points`: model, dataset, `x`, auroc, low, high, and x_low, x_high where x has an interval."""
    colors, markers = style.model_colors(results.models), style.dataset_markers(results.datasets)
    crowded = len(points) > 40
    for (model, dataset), rows in grouped(points, "model", "dataset"):
        color = style.GREY if control else colors[model]
        bars: dict[str, Any] = {"color": color, "lw": 0.7, "alpha": 0.35 if crowded else 0.7, "zorder": 2}
        ax.vlines(rows[x], rows["low"], rows["high"], **bars)
        if "x_low" in rows and not control:
            ax.hlines(rows["auroc"], rows["x_low"], rows["x_high"], **bars)
        face = "none" if control else color
        (drawn,) = ax.plot(
            rows[x], rows["auroc"], ls="", marker=markers[dataset], color=color, mfc=face, ms=size, zorder=3
        )
        describe_points(drawn, [_description(row, x, control) for _, row in rows.iterrows()])


def _description(row: pd.Series, x: str, control: bool) -> str:
    site = f", {row['site']}" if row.get("site", "aggregate") != "aggregate" else ""
    name = f"{row['model']}, {row['dataset']}{site}" + ", adapter off" * control
    return f"{name}: {x} {row[x]:.3g}, AUROC {row['auroc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def auroc_axis(ax: Axes) -> None:
    """AUROC from 0 to 1 with the line of chance."""
    ax.axhline(0.5, color=style.INK, ls=":", lw=0.8)
    ax.set_ylim(-0.03, 1.03)


def decades(values: np.ndarray) -> tuple[float, float]:
    """The powers of ten around positive values, so that a log axis always has labels, and never too many."""
    low, high = np.floor(np.log10(values.min() * 0.95)), np.ceil(np.log10(values.max() * 1.05))
    return float(10**low), float(10**high)


def log_axis(ax: Axes, ends: tuple[float, float], axis: str = "x") -> None:
    """A log axis from one power of ten to another."""
    scale, limits = (ax.set_xscale, ax.set_xlim) if axis == "x" else (ax.set_yscale, ax.set_ylim)
    scale("log")
    limits(*ends)
    ticks = ax.xaxis if axis == "x" else ax.yaxis
    ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if ends[1] / ends[0] < 999 else (1,)))
    ticks.set_major_formatter("{x:g}")
    ticks.set_minor_formatter(NullFormatter())


def label_points(ax: Axes, points: pd.DataFrame, results: Results, x: str) -> None:
    """Write each dataset's name beside its point where there is room; the markers tell the others.

    Call it after `compute_layout`, when the page is otherwise complete: the positions depend on the layout.
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        return
    scale = 72 / figure.dpi  # pixels to points
    data = points[[x, "auroc"]].to_numpy(float)
    at = ax.transData.transform(data) * scale
    frame = ax.get_window_extent()
    edges = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) * scale
    taken = [np.array([px - 3, py - 3, px + 3, py + 3]) for px, py in at]
    for bar in (["x_low", "auroc", "x_high", "auroc"], [x, "low", x, "high"]):
        ends = points[bar].to_numpy(float).reshape(-1, 2)
        taken += list((ax.transData.transform(ends) * scale).reshape(-1, 4))
    colors = style.model_colors(results.models)
    for point, (px, py), name, model in zip(data, at, points["dataset"], points["model"], strict=True):
        width = len(name) * _LETTER * style.SIZES["small"]
        for dx, dy in _OFFSETS:
            left = px + dx - width * (0.0 if dx > 0 else 1.0 if dx < 0 else 0.5)
            box = np.array([left, py + dy, left + width, py + dy + style.SIZES["small"]])
            inside = (box[:2] >= edges[:2]).all() and (box[2:] <= edges[2:]).all()
            if inside and not _overlaps(box, taken):
                taken.append(box)
                note = ax.annotate(
                    name,
                    (point[0], point[1]),
                    (left - px, dy),
                    textcoords="offset points",
                    size=style.SIZES["small"],
                    color=colors[model],
                )
                note.set_in_layout(False)
                break


def _overlaps(box: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)
