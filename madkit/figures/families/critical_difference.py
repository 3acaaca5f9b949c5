"""Which detectors differ over datasets: average ranks with their critical difference."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import detector_name, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.results.selection import first_models
from madkit.statistics.rank_comparison import RankComparison, cliques, compare_ranks

_ROW = 0.19  # inches


@artist("comparison")
def critical_difference(results: Results) -> Iterator[Sheet]:
    """One sheet: a panel per model with detectors by average rank; bars join those that cannot be told apart."""
    results = first_models(results)
    rows = results.over_seeds(Results.aggregated)
    rows = rows[(rows["subset"] == "all") & (rows["setting"] != "ceiling") & ~rows["control"]]
    panels: dict[str, tuple[list[str], RankComparison]] = {}
    for (model,), part in grouped(rows, "model"):
        table = _table(part)
        if min(table.shape) >= 2:
            panels[model] = list(table.columns), compare_ranks(table.to_numpy(float))
    if not panels:
        return
    colors = style.model_colors(results.models)
    most = max(len(names) for names, _ in panels.values())
    titles = [
        f"{model}: {len(names)} detectors\nn = {comparison.n} datasets, Friedman p = {comparison.p_value:.2g}"
        for model, (names, comparison) in panels.items()
    ]
    figure, axes = panel_page(
        "Average rank of detectors over datasets" + results.shown,
        "Rank 1 is the highest AUROC of a dataset (all test prompts, mean over layers). Whiskers: "
        "half the critical difference of "
        "Nemenyi at 5% to each side, cut off at the first and last rank; black bars: detectors that "
        "it cannot tell apart "
        "(Demsar 2006). Only detectors that all datasets have. Few datasets decide little.",
        [PanelBlock(titles, "average rank (1 is best)", "", shared=False)],
        [[Line2D([], [], color=style.INK, lw=2.5, label="no significant difference within")]],
        (4.9, 0.5 + _ROW * most),
        columns=2,
    )
    for (model, (names, comparison)), ax in zip(panels.items(), axes[0], strict=True):
        _panel(ax, names, comparison, colors[model])
    yield Sheet("critical_difference", figure)


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """AUROC per dataset and detector, without detectors that some dataset lacks."""
    triples = zip(rows["feature"], rows["score"], rows["setting"], strict=True)
    names = [with_setting(detector_name(feature, score), setting) for feature, score, setting in triples]
    wide = rows.assign(detector=names).pivot_table(index="dataset", columns="detector", values="auroc")
    return wide.dropna(axis=1)


def _panel(ax: Axes, names: list[str], comparison: RankComparison, color: str) -> None:
    order = np.argsort(comparison.ranks, kind="stable")
    ranks = comparison.ranks[order]
    half = comparison.critical_difference / 2
    lines = np.arange(len(ranks))
    ax.hlines(lines, np.maximum(ranks - half, 1), np.minimum(ranks + half, len(names)), color=color, lw=0.8, alpha=0.5)
    (drawn,) = ax.plot(ranks, lines, "o", color=color, ms=4.5)
    describe_points(drawn, [f"{names[i]}: average rank {comparison.ranks[i]:.2f}" for i in order])
    for index, (low, high) in enumerate(cliques(comparison.ranks, comparison.critical_difference)):
        inside = np.flatnonzero((ranks >= low) & (ranks <= high))
        # Beside the points, one column per bar.
        x = len(names) + 0.6 + 0.35 * index
        ax.vlines([x], [inside[0] - 0.3], [inside[-1] + 0.3], color=style.INK, lw=2.5)
    ax.set_yticks(lines, [names[i] for i in order])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0.5, None)
    ax.set_xticks([1, *range(5, len(names) + 1, 5)] if len(names) > 5 else range(1, len(names) + 1))
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
