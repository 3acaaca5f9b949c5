"""AUROC at each layer and aggregated over them, online and offline, one page per model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import Detector, further_detectors, main_detectors
from madkit.figures.drawing.panel_matrix import FEW_COLUMNS, panel_matrix
from madkit.figures.drawing.style import LineStyle, line_styles
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_prompts, detector_name, score_name, setting_order, with_control
from madkit.figures.published.figures import counterpart
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_panels

_COUNTERPARTS = {"online": counterpart(1, 2), "offline": counterpart(3, 4)}
_TITLES = {"ceiling": "how well a probe that is told the labels finds the quirk (the ceiling), by layer"}
_CONTROL = LineStyle(style.GREY, "--", "_", True)


@artist("detection", after="forest")
def auroc_layers(results: Results) -> Iterator[Sheet]:
    """One sheet per model and setting: a row of panels per feature, a panel per dataset, a line per score.

    Scores that no study published go to a sheet of their own, in the report.
    """
    results = first_panels(results)
    table = results.detection[results.detection["subset"] == "all"]
    # What has no layer has no curve over them.
    table = table[table["feature"].isin(set(results.of_layers()["feature"]))]
    aggregated = results.aggregated()
    colors = style.model_colors(results.models)
    pages = sorted(
        grouped(table[table["site"] != "aggregate"], "model", "setting"), key=lambda page: setting_order(page[0][1])
    )
    for (model, setting), rows in pages:
        totals = aggregated[
            (aggregated["model"] == model) & (aggregated["setting"] == setting) & (aggregated["subset"] == "all")
        ]
        name = f"auroc_by_layer_{setting}_{results.slug(model)}"
        title = (
            f"{model}: " + _TITLES.get(setting, f"how well {setting} scores find the quirk, by layer") + results.shown
        )
        if detectors := main_detectors(rows):
            yield Sheet(name, _draw(title, rows, totals, detectors, colors[model]), model)
        for number, group in enumerate(further_detectors(rows), start=1):
            page = _draw(f"{title} (other scores)", rows, totals, group, colors[model])
            yield Sheet(f"{name}_others_{number}", page, model, report_only=True)


def _draw(title: str, rows: pd.DataFrame, totals: pd.DataFrame, detectors: Sequence[Detector], color: str) -> Figure:
    """A page of curves.

    Args:
        title: of the page.
        rows: of single sites.
        totals: of the mean over sites.
        detectors: those to draw, with their controls behind them.
        color: the model's.
    """
    chosen = rows.set_index(["feature", "score"]).index.isin(detectors)
    is_control = rows["control"]
    features = list(dict.fromkeys(feature for feature, _ in detectors))
    styles = line_styles((score for _, score in detectors), color)
    datasets = ordered_datasets(rows["dataset"])
    shown = rows[chosen & ~is_control]
    figure, axes = panel_matrix(
        title,
        f"AUROC of quirky (anomalous) against normal test prompts; {count_prompts(rows)} per dataset. Bands and "
        "whiskers: 95% intervals, which know which prompts share a statement or speaker. "
        '"agg": the mean of the score over all layers. Each row of panels is a feature, each line a score. '
        + _COUNTERPARTS.get(str(rows["setting"].iloc[0]), ""),
        features,
        datasets,
        set(zip(shown["feature"], shown["dataset"], strict=True)),
        ("layer number", "AUROC"),
        _legend(styles, rows[chosen & is_control]),
    )
    curves, means = (_by_curve(part) for part in (rows, totals))
    for (feature, dataset), ax in axes.items():
        of_feature = rows[rows["feature"] == feature].sort_values(["layer", "site"])
        sites = list(dict.fromkeys(of_feature["site"]))
        _axes(ax, _labels(of_feature, sites), 4 if len(datasets) > FEW_COLUMNS else 6)
        scores = [score for name, score in detectors if name == feature]
        # Controls first: behind the detectors that they control.
        lines = [(score, True, _CONTROL) for score in scores] + [(score, False, styles[score]) for score in scores]
        for index, (score, control, line_style) in enumerate(lines):
            key = feature, control, score, dataset
            curve, total = curves.get(key, rows[:0]), means.get(key, totals[:0])
            _curve(ax, curve, total, sites, line_style, index / len(lines) - 0.35)
    return figure


def _legend(styles: dict[str, LineStyle], control: pd.DataFrame) -> list[list[Line2D]]:
    handles = [
        Line2D([], [], color=line.color, ls=line.line, marker=line.marker, mfc=line.face, label=score_name(score))
        for score, line in styles.items()
    ]
    if not control.empty:
        scores = ", ".join(score_name(score) for score in dict.fromkeys(control["score"]))
        handles.append(
            Line2D([], [], color=style.GREY, ls="--", lw=0.9, label=f"control ({scores}): same prompts, adapter off")
        )
    return [[*handles, Line2D([], [], color=style.INK, ls=":", lw=0.8, label="chance (0.5)")]]


def _by_curve(rows: pd.DataFrame) -> dict[tuple[object, ...], pd.DataFrame]:
    """The rows of each feature, control, score and dataset, all of them looked for at once."""
    return {tuple(key): part for key, part in rows.groupby(["feature", "control", "score", "dataset"], sort=False)}


def _labels(rows: pd.DataFrame, sites: list[str]) -> list[str]:
    """The layer's number, or the site's name where it has none."""
    layers = rows.drop_duplicates("site").set_index("site")["layer"]
    return [site if pd.isna(layers[site]) else str(int(layers[site])) for site in sites]


def _axes(ax: Axes, labels: Sequence[str], ticks: int) -> None:
    """Sites are equally spaced; the aggregate stands apart at the right."""
    indices = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), ticks)).round().astype(int))
    end = _aggregate_at(len(labels))
    ax.set_xticks([*indices, end], [*(labels[i] for i in indices), "agg"])
    ax.set_xlim(-0.7, 1.5 * end - 0.5 * len(labels) + 0.5)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
    ax.axhline(0.5, color=style.INK, ls=":", lw=0.8)
    ax.axvline((len(labels) - 1 + end) / 2, color=style.FAINT, lw=0.7)


def _aggregate_at(sites: int) -> float:
    """Where the aggregate stands, beside so many sites at 0, 1, ...: as far from the last as its label takes room."""
    return sites + max(0.5, 0.18 * sites - 1)


def _curve(
    ax: Axes, rows: pd.DataFrame, total: pd.DataFrame, sites: list[str], line_style: LineStyle, shift: float
) -> None:
    control = line_style is _CONTROL
    line: dict[str, Any] = {"color": line_style.color, "lw": 0.9 if control else 1.3}
    marks: dict[str, Any] = {"mfc": line_style.face, "mew": 0.8, "color": line_style.color}
    if not rows.empty:
        # A site that this dataset lacks leaves a gap in the line.
        curve = rows.drop_duplicates("site").set_index("site").reindex(sites)
        value, low, high = curve[["auroc", "low", "high"]].to_numpy(float).T
        x = np.arange(len(sites))
        marker = None if control else line_style.marker
        (drawn,) = ax.plot(x, value, ls=line_style.line, marker=marker, ms=3, **marks, lw=line["lw"])
        describe_points(
            drawn, [_description(row, site) if pd.notna(row.auroc) else "" for site, row in curve.iterrows()]
        )
        if len(sites) > 1:
            ax.fill_between(x, low, high, color=line_style.color, alpha=0.15, lw=0)
        else:
            ax.vlines(x, low, high, **line)
    if not total.empty:
        value, low, high = total[["auroc", "low", "high"]].to_numpy(float)[0]
        # Side by side, so that no whisker hides another.
        at = _aggregate_at(len(sites)) * (1 + 0.5 * shift / (len(sites) + 0.5))
        ax.vlines([at], [low], [high], **line)
        (drawn,) = ax.plot([at], [value], ls="", marker=line_style.marker, ms=5 if control else 3.5, **marks)
        describe_points(drawn, [_description(total.iloc[0], "mean over layers")])


def _description(row: Any, site: Any) -> str:
    name = with_control(detector_name(row.feature, row.score), bool(row.control))
    return f"{row.dataset}, {name}, {site}: AUROC {row.auroc:.3f} [{row.low:.3f}, {row.high:.3f}]"
