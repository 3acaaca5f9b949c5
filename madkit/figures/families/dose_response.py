"""Dose and response: what each detector reaches along one training, against the strength of the quirk."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import Detector, ordered_detectors
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range, detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.doses import LEVELS, QUIRKINESS, Threshold, dose_points, intervals, thresholds
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.tables.document import Document
from madkit.statistics.interval import Interval

_NAMES = {"auroc": "AUROC", "tpr": "TPR at 1% FPR"}


@artist("explanation", after="quirkiness")
def dose_response(results: Results) -> Iterator[Sheet]:
    """A figure per model with a panel per dataset, and `table_doses`: the quirkiness at which a level is reached."""
    points = dose_points(results)
    if points.empty:
        return
    for (model,), part in grouped(points, "model"):
        yield Sheet(f"dose_response_{results.slug(model)}", _draw(model, part), model)
    found = list(thresholds(points))
    if found:
        table = pd.DataFrame([{**row._asdict(), **_ends(row.at)} for row in found]).drop(columns="at")
        yield Sheet("table_doses.csv", table.to_csv(index=False, lineterminator="\n"))
        yield Sheet("table_doses.md", _document(points, found))


def _draw(model: str, points: pd.DataFrame) -> Figure:
    datasets = ordered_datasets(points["dataset"])
    detectors = ordered_detectors(zip(points["feature"], points["score"], strict=True))
    looks = {
        detector: (style.PALETTE[i % len(style.PALETTE)], style.MARKERS[i % len(style.MARKERS)])
        for i, detector in enumerate(detectors)
    }
    statistics = [name for name, _ in LEVELS if name in points]
    titles = []
    for name in datasets:
        rows = points[points["dataset"] == name]
        prompts = f"{count_range(rows['n_normal'])} + {count_range(rows['n_anomalous'])}"
        titles.append(f"{name}\n{rows['step'].nunique()} doses, n = {prompts}")
    figure, axes = panel_page(
        f"{model}: detectors along one training",
        "A point per detector and kept checkpoint; the mean of its scores over layers on all test prompts (n = normal "
        "+ anomalous). Bars: 95% intervals. Quirkiness: how much better each character's own labels fit than the "
        "other's, the lesser of the two; below 0 the characters do not yet behave as meant. Dashed: the level whose "
        "quirkiness is in table_doses.md.",
        [
            PanelBlock(titles if i == 0 else [""] * len(datasets), "quirkiness coefficient (nats)", _NAMES[name])
            for i, name in enumerate(statistics)
        ],
        [[_handle(detector, *look) for detector, look in looks.items()]],
        style.PANEL["medium"],
        columns=3,
    )
    for name, row in zip(statistics, axes, strict=True):
        for dataset, ax in zip(datasets, row, strict=True):
            rows = points[points["dataset"] == dataset]
            for detector, look in looks.items():
                own = rows[(rows["feature"] == detector[0]) & (rows["score"] == detector[1])]
                _line(ax, own.sort_values("step"), name, detector, *look)
            ax.axhline(dict(LEVELS)[name], color=style.INK, ls="--", lw=0.7)
            ax.axvline(0, color=style.INK, lw=0.6)
            ax.set_ylim((0.35, 1.03) if name == "auroc" else (-0.03, 1.03))
            ax.margins(x=0.05)
    return figure


def _handle(detector: Detector, color: str, marker: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, label=detector_name(*detector))


def _line(ax: Axes, rows: pd.DataFrame, statistic: str, detector: Detector, color: str, marker: str) -> None:
    if rows.empty:
        return
    x, low, high = rows[list(QUIRKINESS)].to_numpy(float).T
    y = np.array(intervals(rows, statistic))
    ax.hlines(y[:, 0], low, high, color=color, lw=0.6, alpha=0.4)
    ax.vlines(x, y[:, 1], y[:, 2], color=color, lw=0.6, alpha=0.4)
    order = np.argsort(x, kind="stable")
    ax.plot(x[order], y[order, 0], color=color, lw=1.0, alpha=0.8)
    (drawn,) = ax.plot(x, y[:, 0], ls="", marker=marker, color=color)
    name = f"{rows['dataset'].iloc[0]}, {detector_name(*detector)}"
    describe_points(
        drawn,
        [
            f"{name}, step {step}: {_NAMES[statistic]} {value:.3f} [{a:.3f}, {b:.3f}] at {q:.2f} nats"
            for step, q, (value, a, b) in zip(rows["step"], x, y.tolist(), strict=True)
        ],
    )


def _ends(at: Interval) -> dict[str, float]:
    return {"quirkiness": at.value, "quirkiness_low": at.low, "quirkiness_high": at.high}


def _document(points: pd.DataFrame, found: list[Threshold]) -> Document:
    tables = {}
    for model in sorted({row.model for row in found}):
        own = [row for row in found if row.model == model]
        datasets = ordered_datasets(row.dataset for row in own)
        for statistic, level in LEVELS:
            cells = {(row.feature, row.score, row.dataset): row.at for row in own if row.statistic == statistic}
            lines = [
                [detector_name(*detector), *(_cell(cells.get((*detector, dataset))) for dataset in datasets)]
                for detector in ordered_detectors((row.feature, row.score) for row in own)
            ]
            if cells:
                tables[f"{model}: quirkiness at which {_NAMES[statistic]} is {level}"] = ["detector", *datasets], lines
    ranges = [
        f"{model}, {dataset}: {part['step'].nunique()} doses, steps {part['step'].min()} to {part['step'].max()}, "
        f"quirkiness {part['quirkiness'].min():.2f} to {part['quirkiness'].max():.2f} nats, n = "
        f"{count_range(part['n_normal'])} normal and {count_range(part['n_anomalous'])} anomalous prompts."
        for (model, dataset), part in grouped(points, "model", "dataset")
    ]
    notes = [
        "The less, the earlier a detector sees the quirk. *Never*: not at any dose; *from the first*: already at the "
        "lowest.",
        "By isotonic regression of the statistic on the quirkiness of the kept checkpoints, and linear interpolation. "
        "Intervals: a parametric bootstrap from the intervals of both, whose errors are taken to be the same at all "
        "doses, as all are judged on the same prompts. They speak of other prompts, not of another training.",
        *ranges,
    ]
    intro = "Quirkiness coefficient in nats [95% interval]; all test prompts, mean over layers."
    return Document("Dose and response: how strong a quirk has to be", intro, tables, notes)


def _cell(at: Interval | None) -> str:
    if at is None:
        return "-"
    value, low, high = map(_nats, at)
    return value if value == low == high else f"{value} [{low}, {high}]"


def _nats(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "never" if value > 0 else "from the first"
