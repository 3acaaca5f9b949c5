"""Does a quirkier model have a better AUROC? One page per feature."""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import main_and_further
from madkit.figures.drawing.layout import compute_layout
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.scatter import auroc_axis, draw_points, label_points, scatter_legend
from madkit.figures.naming import score_name, slug
from madkit.figures.published.figures import counterpart
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.results.selection import first_models
from madkit.figures.tables.correlations import correlation_lines

_COUNTERPARTS = {"activations": counterpart(7), "attribution": counterpart(8)}
_MOST_LABELS = 24  # with more points, names only hide them


@artist("explanation")
def quirkiness(results: Results) -> Iterator[Sheet]:
    """One sheet per feature: a panel per score, a point per model and dataset; further scores in the report only."""
    results = first_models(results)
    columns = {"value": "quirkiness", "low": "x_low", "high": "x_high"}
    points = results.aggregated()
    points = points[points["subset"] == "all"].merge(
        results.quirkiness.rename(columns=columns), on=["model", "dataset"]
    )
    points = points.dropna(subset=["auroc", "quirkiness"])
    points = points[points["feature"].isin(set(results.of_layers()["feature"]))]
    for further, triples in enumerate(main_and_further(points)):
        for feature in dict.fromkeys(feature for feature, _, _ in triples):
            panels = [(score, setting) for name, score, setting in triples if name == feature]
            name = f"auroc_vs_quirkiness_{slug(feature)}" + "_others" * further
            yield Sheet(name, _draw(results, points, feature, panels, further > 0), report_only=further > 0)


def _draw(
    results: Results, points: pd.DataFrame, feature: str, panels: Sequence[tuple[str, str]], further: bool
) -> Figure:
    parts = [_select(points, False, feature, *panel) for panel in panels]
    controls = [_select(points, True, feature, *panel) for panel in panels]
    titles = [
        f"{score_name(score)}, {setting}\n"
        + correlation_lines(part["quirkiness"], part["auroc"], part["dataset"].tolist())
        for (score, setting), part in zip(panels, parts, strict=True)
    ]
    figure, axes = panel_page(
        f"AUROC of {feature.replace('_', ' ')} against the quirkiness coefficient"
        + " (other scores)" * further
        + results.shown,
        "A point per model and dataset; AUROC aggregated over layers, all test prompts. Bars: 95% intervals "
        "in both directions. Quirkiness: how much better each character's own labels fit than the other's, "
        "the lesser of the two; below 0, a character does not behave as meant. "
        f"Intervals of correlations: bootstrap of datasets. {_COUNTERPARTS.get(feature, counterpart(7, 8))}",
        [PanelBlock(titles, "quirkiness coefficient (nats)", "AUROC")],
        scatter_legend(results, pd.concat(parts), control=any(len(part) for part in controls)),
        style.PANEL["large"],
        columns=3,
    )
    for part, control, ax in zip(parts, controls, axes[0], strict=True):
        draw_points(ax, control, results, "quirkiness", 4.5, control=True)
        draw_points(ax, part, results, "quirkiness", 6)
        auroc_axis(ax)
        ax.axvline(0, color=style.INK, lw=0.6)
        ax.margins(x=0.08)
    labelled = [(ax, part) for part, ax in zip(parts, axes[0], strict=True) if len(part) <= _MOST_LABELS]
    if labelled:
        compute_layout(figure)
    for ax, part in labelled:
        label_points(ax, part, results, "quirkiness")
    return figure


def _select(points: pd.DataFrame, control: bool, feature: str, score: str, setting: str) -> pd.DataFrame:
    return points[
        (points["control"] == control)
        & (points["feature"] == feature)
        & (points["score"] == score)
        & (points["setting"] == setting)
    ]
