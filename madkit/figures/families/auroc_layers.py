"""Figures 1 to 4: AUROC at each layer and aggregated over them, online and offline, one page per model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import Detector, Look, looks, main, others
from madkit.figures.drawing.matrix import WIDE, matrix
from madkit.figures.drawing.tooltips import tell
from madkit.figures.naming import CONTROL, count_range, detector_name, score_name, setting_place
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, in_order

_NUMBERS = {"online": "fig01-02", "offline": "fig03-04"}
_TITLES = {"ceiling": "how well a probe that is told the labels finds the quirk (the ceiling), by layer"}
_CONTROL = Look(style.GREY, "--", "_", True)


@artist(1, "How well detectors do")
def auroc_layers(results: Results) -> Iterator[Sheet]:
    """One sheet per model and setting: a row of panels per feature, a panel per dataset, a line per score.

    Scores that no study published go to a sheet of their own, in the report.
    """
    table = results.detection[results.detection["subset"] == "all"]
    # What has no layer has no curve over them.
    table = table[table["feature"].isin(set(results.inside()["feature"]))]
    whole = results.aggregate()
    colors = style.model_colors(results.models)
    pages = sorted(
        grouped(table[table["site"] != "aggregate"], "model", "setting"), key=lambda page: setting_place(page[0][1])
    )
    for (model, setting), rows in pages:
        aggregated = whole[(whole["model"] == model) & (whole["setting"] == setting) & (whole["subset"] == "all")]
        name = f"{_NUMBERS.get(setting, 'fig01-04')}_auroc_{setting}_{results.slug(model)}"
        title = f"{model}: " + _TITLES.get(setting, f"how well {setting} scores find the quirk, by layer")
        if detectors := main(rows):
            yield Sheet(name, _draw(title, rows, aggregated, detectors, colors[model]), model)
        for number, group in enumerate(others(rows), start=1):
            page = _draw(f"{title} (other scores)", rows, aggregated, group, colors[model])
            yield Sheet(f"{name}_others_{number}", page, model, aside=True)


def _draw(
    title: str, rows: pd.DataFrame, aggregated: pd.DataFrame, detectors: Sequence[Detector], color: str
) -> Figure:
    own = rows.set_index(["feature", "score"]).index.isin(detectors)
    controls = [(CONTROL + feature, score) for feature, score in detectors]
    control = rows[rows.set_index(["feature", "score"]).index.isin(controls)]
    features = list(dict.fromkeys(feature for feature, _ in detectors))
    look = looks((score for _, score in detectors), color)
    datasets = in_order(rows["dataset"])
    normal, anomalous = count_range(rows["n_normal"]), count_range(rows["n_anomalous"])
    figure, axes = matrix(
        title,
        f"AUROC of quirky (anomalous) against normal test prompts; n = {normal} normal and {anomalous} "
        "anomalous prompts per dataset. Bands and whiskers: 95% intervals. "
        '"agg": the mean of the score over all layers. Each row of panels is a feature, each line a score.',
        features,
        datasets,
        set(zip(rows[own]["feature"], rows[own]["dataset"], strict=True)),
        ("layer number", "AUROC"),
        _legend(look, control),
    )
    for (feature, dataset), ax in axes.items():
        of_feature = [rows[rows["feature"].isin([feature, CONTROL + feature])]]
        curves = pd.concat(of_feature).sort_values(["layer", "site"])
        sites = list(dict.fromkeys(curves["site"]))
        _axes(ax, _labels(curves, sites), 4 if len(datasets) > WIDE else 6)
        lines = [(CONTROL + feature, score, _CONTROL) for name, score in detectors if name == feature]
        lines += [(feature, score, look[score]) for name, score in detectors if name == feature]
        for place, (name, score, line) in enumerate(lines):
            here, total = (_select(part, name, score, dataset) for part in (rows, aggregated))
            _curve(ax, here, total, sites, line, place / len(lines) - 0.35)
    return figure


def _legend(look: dict[str, Look], control: pd.DataFrame) -> list[list[Line2D]]:
    handles = [
        Line2D([], [], color=kind.color, ls=kind.line, marker=kind.marker, mfc=_face(kind), label=score_name(score))
        for score, kind in look.items()
    ]
    if not control.empty:
        scores = ", ".join(score_name(score) for score in dict.fromkeys(control["score"]))
        handles.append(
            Line2D([], [], color=style.GREY, ls="--", lw=0.9, label=f"control ({scores}): same prompts, adapter off")
        )
    return [[*handles, Line2D([], [], color=style.INK, ls=":", lw=0.8, label="chance (0.5)")]]


def _face(look: Look) -> str:
    return look.color if look.filled else "white"


def _select(rows: pd.DataFrame, feature: str, score: str, dataset: str) -> pd.DataFrame:
    return rows[(rows["feature"] == feature) & (rows["score"] == score) & (rows["dataset"] == dataset)]


def _labels(curves: pd.DataFrame, sites: list[str]) -> list[str]:
    """The layer's number, or the site's name where it has none."""
    layers = curves.drop_duplicates("site").set_index("site")["layer"]
    return [site if pd.isna(layers[site]) else str(int(layers[site])) for site in sites]


def _axes(ax: Axes, labels: Sequence[str], ticks: int) -> None:
    """Sites are equally spaced; the aggregate stands apart at the right."""
    shown = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), ticks)).round().astype(int))
    end = len(labels) + 0.5
    ax.set_xticks([*shown, end], [*(labels[i] for i in shown), "agg"])
    ax.set_xlim(-0.7, end + 0.7)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
    ax.axhline(0.5, color=style.INK, ls=":", lw=0.8)
    ax.axvline(len(labels) - 0.25, color=style.FAINT, lw=0.7)


def _curve(ax: Axes, rows: pd.DataFrame, total: pd.DataFrame, sites: list[str], look: Look, shift: float) -> None:
    control = look is _CONTROL
    line: dict[str, Any] = {"color": look.color, "lw": 0.9 if control else 1.3}
    marks: dict[str, Any] = {"mfc": _face(look), "mew": 0.8, "color": look.color}
    if not rows.empty:
        # A site that this dataset lacks leaves a gap in the line.
        curve = rows.drop_duplicates("site").set_index("site").reindex(sites)
        value, low, high = curve[["auroc", "low", "high"]].to_numpy(float).T
        x = np.arange(len(sites))
        (drawn,) = ax.plot(
            x, value, ls=look.line, marker=None if control else look.marker, ms=3, **marks, lw=line["lw"]
        )
        tell(drawn, [_words(row, site) if pd.notna(row.auroc) else "" for site, row in curve.iterrows()])
        if len(sites) > 1:
            ax.fill_between(x, low, high, color=look.color, alpha=0.15, lw=0)
        else:
            ax.vlines(x, low, high, **line)
    if not total.empty:
        value, low, high = total[["auroc", "low", "high"]].to_numpy(float)[0]
        # Side by side, so that no whisker hides another.
        place = len(sites) + 0.5 + 0.5 * shift
        ax.vlines([place], [low], [high], **line)
        (drawn,) = ax.plot([place], [value], ls="", marker=look.marker, ms=5 if control else 3.5, **marks)
        tell(drawn, [_words(total.iloc[0], "mean over layers")])


def _words(row: Any, site: Any) -> str:
    name = "control: " * str(row.feature).startswith(CONTROL) + detector_name(
        str(row.feature).removeprefix(CONTROL), row.score
    )
    return f"{row.dataset}, {name}, {site}: AUROC {row.auroc:.3f} [{row.low:.3f}, {row.high:.3f}]"
