"""All detectors and all models in one picture: the average AUROC with its interval, and each dataset behind it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_prompts, count_range, detector_name, setting_order, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.results.selection import first_models
from madkit.figures.tables.averages import average

_ROW = 0.075  # inches for each model of a row


@artist("detection")
def forest(results: Results) -> Iterator[Sheet]:
    """One sheet: a row per detector, a point with its interval per model, a faint point per dataset."""
    results = first_models(results)
    rows = results.over_seeds(lambda part: part.aggregated(own_answer=True))
    rows = rows[rows["subset"] == "all"]
    if rows.empty:
        return
    models = sorted(set(rows["model"]))
    colors = style.model_colors(results.models)
    detectors = _detectors(rows)
    datasets = count_range(rows.groupby("model")["dataset"].nunique())
    points = f"runs, {1 + len(results.seeds)} seeds of each dataset" if results.seeds else "datasets"
    figure, axes = panel_page(
        "AUROC of every detector, averaged over datasets" + results.shown,
        f"All test prompts, mean of the score over layers; datasets per model: {datasets}; {count_prompts(rows)} per "
        "dataset. Large "
        "points and lines: averages with "
        f"95% intervals, which speak about other datasets too; small points: the {points}. Grey "
        "crosses: the control, the same "
        "detector with the adapter off. The ceiling is told the labels. Own answer: the answer alone, by its "
        "better sign.",
        [PanelBlock([""], "AUROC", "")],
        [
            [
                *(Line2D([], [], color=colors[model], marker="o", label=model) for model in models),
                *_control_legend(rows),
                Line2D([], [], color=style.INK, ls=":", lw=0.8, label="chance (0.5)"),
            ]
        ],
        (8.2, 0.3 + len(detectors) * (0.16 + _ROW * len(models))),
        columns=1,
    )
    ax = axes[0][0]
    ax.axvline(0.5, color=style.INK, ls=":", lw=0.8)
    for line, (feature, score, setting) in enumerate(detectors):
        if line % 2:
            ax.axhspan(line - 0.5, line + 0.5, color="#F6F6F6", lw=0, zorder=0)
        for index, model in enumerate(models):
            y = line + (index - (len(models) - 1) / 2) * 0.8 / max(1, len(models))
            part = _select(rows, model, feature, score, setting)
            is_control = part["control"]
            _marks(ax, part[~is_control], y, colors[model], f"{model}, {detector_name(feature, score)}")
            control = average(part[is_control])
            if control is not None and setting != "ceiling":
                (drawn,) = ax.plot([control.value], [y], "x", color=style.GREY, ms=4)
                describe_points(drawn, [f"{model}, control of {detector_name(feature, score)}: {control.value:.3f}"])
    names = [with_setting(detector_name(feature, score), setting) for feature, score, setting in detectors]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(-0.01, 1.01)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    yield Sheet("forest_auroc", figure)


def _detectors(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    rows = rows[~rows["control"]]
    detectors = []
    for setting in sorted(set(rows["setting"]), key=setting_order):
        part = rows[rows["setting"] == setting]
        pairs = ordered_detectors(zip(part["feature"], part["score"], strict=True))
        detectors += [(*pair, setting) for pair in pairs]
    return detectors


def _control_legend(rows: pd.DataFrame) -> list[Line2D]:
    if not rows["control"].any():
        return []
    return [Line2D([], [], color=style.GREY, marker="x", ls="", label="control: adapter off")]


def _select(rows: pd.DataFrame, model: str, feature: str, score: str, setting: str) -> pd.DataFrame:
    return rows[
        (rows["model"] == model)
        & (rows["feature"] == feature)
        & (rows["score"] == score)
        & (rows["setting"] == setting)
    ]


def _marks(ax: Axes, rows: pd.DataFrame, y: float, color: str, name: str) -> None:
    mean = average(rows)
    if mean is None:
        return
    each = rows.dropna(subset=["auroc"])
    values = each[["auroc", "low", "high"]].to_numpy(float)
    mark: dict[str, Any] = {"ls": "", "marker": "o", "ms": 3, "mew": 0.4, "mec": "white", "alpha": 0.8, "zorder": 3}
    (drawn,) = ax.plot(values[:, 0], np.full(len(values), y), color=color, **mark)
    intervals = zip(each["dataset"], values, strict=True)
    describe_points(drawn, [f"{name}, {dataset}: {v:.3f} [{lo:.3f}, {hi:.3f}]" for dataset, (v, lo, hi) in intervals])
    ax.hlines([y], [mean.low], [mean.high], color=color, lw=1.3)
    (drawn,) = ax.plot([mean.value], [y], "o", color=color, ms=5.5, zorder=4)
    interval = f"average over {mean.n_datasets}: {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
    describe_points(drawn, [f"{name}, {interval}"])
