"""Every detector on every dataset at once, as a map with its numbers."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_prompts, detector_name, setting_order, with_control, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import MOST_DATASETS, first_models
from madkit.figures.tables.averages import average

_CELL = (0.72, 0.36)  # inches
_NAMES = 2.6  # inches for the detectors' names
_COLORS = "RdBu_r"  # safe for colour-blind readers, and white where a detector is no better than chance


@artist("detection", after="auroc_layers")
def heat_map(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a row per detector, a column per dataset and one for their average."""
    results = first_models(results)
    table = results.aggregated(own_answer=True)
    for (model,), rows in grouped(table[table["subset"] == "all"], "model"):
        yield Sheet(f"heat_map_{results.slug(model)}", _draw(model + results.shown, rows), model)


def _draw(model: str, rows: pd.DataFrame) -> Figure:
    datasets = ordered_datasets(rows["dataset"])
    more = (
        ""
        if len(datasets) <= MOST_DATASETS
        else f" The first {MOST_DATASETS} of {len(datasets)} datasets, average of all."
    )
    datasets = datasets[:MOST_DATASETS]
    is_control = rows["control"]
    names: dict[tuple[bool, str, str, str], str] = {}
    for setting in sorted(set(rows["setting"]), key=setting_order):
        part = rows[~is_control & (rows["setting"] == setting)]
        for feature, score in ordered_detectors(zip(part["feature"], part["score"], strict=True)):
            names[False, feature, score, setting] = with_setting(detector_name(feature, score), setting)
    controls = rows[is_control & (rows["setting"] != "ceiling")]
    for feature, score in ordered_detectors(zip(controls["feature"], controls["score"], strict=True)):
        setting = str(controls.loc[controls["score"] == score, "setting"].iloc[0])
        names[True, feature, score, setting] = with_setting(with_control(detector_name(feature, score), True), setting)
    size = (_NAMES + _CELL[0] * (len(datasets) + 1.2), 0.6 + _CELL[1] * len(names))
    figure, axes = panel_page(
        f"{model}: AUROC of every detector on every dataset",
        f"Scores averaged over layers, all test prompts ({count_prompts(rows)} per dataset); below each number its 95% "
        "interval. White is chance; the average's interval "
        "is about other datasets too. Own answer: the answer alone, by its better sign." + more,
        [PanelBlock([""], "", "")],
        panel=size,
        columns=1,
    )
    ax = axes[0][0]
    for line, key in enumerate(names):
        part = rows[(rows[["control", "feature", "score", "setting"]] == list(key)).all(axis=1)].set_index("dataset")
        for column, dataset in enumerate(datasets):
            if dataset in part.index:
                cell = part.loc[dataset]
                _cell(ax, column, line, f"{dataset}, {names[key]}", *cell[["auroc", "low", "high"]].astype(float))
        mean = average(part)
        if mean is not None:
            _cell(ax, len(datasets) + 0.2, line, f"average, {names[key]}", mean.value, mean.low, mean.high)
    ax.set_xlim(-0.5, len(datasets) + 0.7)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), names.values())
    ticks = [*range(len(datasets)), len(datasets) + 0.2]
    ax.set_xticks(ticks, [*datasets, "average"], rotation=40, ha="left", rotation_mode="anchor")
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(_colors(), ax=ax, shrink=min(1.0, 2.5 / size[1]), aspect=12, pad=0.02, anchor=(0, 1))
    bar.set_label("AUROC")
    bar.outline.set_visible(False)
    return figure


def _colors() -> ScalarMappable:
    return ScalarMappable(Normalize(0, 1), _COLORS)


def _cell(ax: Axes, x: float, y: float, name: str, value: float, low: float, high: float) -> None:
    if not np.isfinite(value):
        return
    color = _colors().to_rgba(np.array(value))
    ax.fill_between([x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=color, lw=0)
    ink = "white" if 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 0.55 else style.INK
    ax.text(x, y - 0.14, f"{value:.3f}", ha="center", va="center", size=style.SIZES["small"], color=ink)
    ax.text(x, y + 0.25, f"{low:.2f} to {high:.2f}", ha="center", va="center", size=5.2, color=ink)
    (point,) = ax.plot([x], [y], ls="", marker=None)
    describe_points(point, [f"{name}: AUROC {value:.3f} [{low:.3f}, {high:.3f}]"])
