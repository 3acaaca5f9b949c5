"""The log odds of " Yes" for each character, label and agreement, one page per model."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range
from madkit.figures.published.figures import counterpart
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, ordered_datasets
from madkit.figures.results.selection import first_panels

_BINS = 40
_HALF = 0.2  # the widest half-width of a shape, in units of the distance between two groups
_GROUPS = [(agree, character) for agree in (True, False) for character in ("Alice", "Bob")]


@artist("quirkiness")
def log_odds(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a panel per dataset, four pairs of distributions in each."""
    results = first_panels(results)
    colors = style.model_colors(results.models)
    columns = ["dataset", "character", "label", "agree", "log_odds"]
    for model, datasets in results.datasets_of_models.items():
        # Without the model's answers there are no log odds, and some prompts have no right answer.
        parts = [results.prompts(model, name)[columns].dropna(subset=["label", "log_odds"]) for name in datasets]
        if answered := [part for part in parts if len(part)]:
            rows = pd.concat(answered)
            yield Sheet(
                f"log_odds_{results.slug(model)}",
                log_odds_figure(model + results.shown, rows, colors[model]),
                model,
            )


def log_odds_figure(model: str, rows: pd.DataFrame, color: str = style.PALETTE[0]) -> Figure:
    """The figure of one model.

    Args:
        model: its name.
        rows: a prompt each: dataset, character, label, agree, log_odds.
        color: the model's.
    """
    datasets = ordered_datasets(rows["dataset"])
    counts = rows.groupby(["dataset", "character", "agree", "label"]).size()
    figure, axes = panel_page(
        f"{model}: log odds of Yes against No for each character",
        "Split by the label of the prompt's own character, on prompts where both characters' labels "
        "agree and where they are opposed. Shapes: histograms, each scaled to its own peak; bars: "
        f"quartiles; ticks: medians; n = {count_range(counts)} prompts per shape. A quirky model keeps "
        f"the two shapes of every pair on their own sides of 0. {counterpart(5, 6)}",
        [PanelBlock(datasets, "character and prompts", "log odds of Yes (nats)")],
        [
            [
                Patch(color=color, label="label of own character: Yes"),
                Patch(facecolor=style.FAINT, edgecolor=style.GREY, label="label of own character: No"),
            ]
        ],
        style.PANEL["medium"],
        columns=4,
    )
    for dataset, ax in zip(datasets, axes[0], strict=True):
        _panel(ax, rows[rows["dataset"] == dataset], color)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    ax.axhline(0, color=style.INK, ls=":", lw=0.8)
    ax.axvline(1.5, color=style.FAINT, lw=0.7)
    ax.grid(visible=False, axis="x")
    for position, (agree, character) in enumerate(_GROUPS):
        group = rows[(rows["agree"].astype(bool) == agree) & (rows["character"] == character)]
        label = group["label"].astype(bool)
        name = f"{character}, labels {'agree' if agree else 'opposed'}"
        no, yes = (group.loc[side, "log_odds"].to_numpy(float) for side in (~label, label))
        _shape(ax, no, position - 0.22, style.FAINT, style.GREY, f"{name}, No")
        _shape(ax, yes, position + 0.22, color, color, f"{name}, Yes")
    names = [f"{character}\n{'agree' if agree else 'opposed'}" for agree, character in _GROUPS]
    ax.set_xticks(range(len(names)), names)
    ax.set_xlim(-0.6, len(names) - 0.4)


def _shape(ax: Axes, values: np.ndarray, center: float, fill: str, edge: str, name: str) -> None:
    """A histogram on its side, mirrored: like a violin, but it cannot smooth two peaks into one."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return
    counts, edges = np.histogram(values, bins=min(_BINS, max(5, values.size // 5)))
    half = np.repeat(counts / counts.max() * _HALF, 2)
    outline = np.repeat(edges, 2)[1:-1]
    ax.fill_betweenx(outline, center - half, center + half, facecolor=fill, edgecolor=edge, lw=0.6, alpha=0.75)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    (points,) = ax.plot([center] * 3, [low, median, high], ls="", marker=None)
    named = zip(("first quartile", "median", "third quartile"), (low, median, high), strict=True)
    describe_points(points, [f"{name}, {which} {value:.2f} nats (n = {values.size})" for which, value in named])
    ax.vlines([center], [low], [high], color=style.INK, lw=1.2)
    ax.hlines([median], [center - 0.1], [center + 0.1], color=style.INK, lw=1.4)
