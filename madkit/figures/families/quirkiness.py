"""Figures 7 and 8: does a quirkier model have a better AUROC? One page per feature."""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from madkit.figures.drawing import scatter, style
from madkit.figures.drawing.detectors import first_and_rest
from madkit.figures.drawing.page import Block, page
from madkit.figures.naming import CONTROL, score_name, slug
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.correlations import correlation_lines

_NUMBERS = {"activations": "fig07", "attribution": "fig08"}
_MOST_LABELS = 24  # with more points, names only hide them


@artist(7, "What explains detection")
def quirkiness(results: Results) -> Iterator[Sheet]:
    """One sheet per feature: a panel per score, a point per model and dataset; lesser scores in the report only."""
    columns = {"value": "quirkiness", "low": "x_low", "high": "x_high"}
    whole = results.aggregate()
    points = whole[whole["subset"] == "all"].merge(results.quirkiness.rename(columns=columns), on=["model", "dataset"])
    points = points.dropna(subset=["auroc", "quirkiness"])
    points = points[points["feature"].isin(set(results.inside()["feature"]))]
    for aside, triples in enumerate(first_and_rest(points)):
        for feature in dict.fromkeys(feature for feature, _, _ in triples):
            panels = [(score, setting) for name, score, setting in triples if name == feature]
            name = f"{_NUMBERS.get(feature, 'fig07-08')}_auroc_vs_quirkiness_{slug(feature)}" + "_others" * aside
            yield Sheet(name, _draw(results, points, feature, panels, aside > 0), aside=aside > 0)


def _draw(
    results: Results, points: pd.DataFrame, feature: str, panels: Sequence[tuple[str, str]], aside: bool
) -> Figure:
    parts = [_select(points, feature, *panel) for panel in panels]
    controls = [_select(points, CONTROL + feature, *panel) for panel in panels]
    titles = [
        f"{score_name(score)}, {setting}\n" + correlation_lines(part["quirkiness"], part["auroc"])
        for (score, setting), part in zip(panels, parts, strict=True)
    ]
    figure, axes = page(
        f"AUROC of {feature.replace('_', ' ')} against the quirkiness coefficient" + " (other scores)" * aside,
        "A point per model and dataset; AUROC aggregated over layers, all test prompts. Bars: 95% intervals "
        "in both directions. Quirkiness: how much better each character's own labels fit than the other's, "
        "the lesser of the two; below 0, a character does not behave as meant.",
        [Block(titles, "quirkiness coefficient (nats)", "AUROC")],
        scatter.legend(results, pd.concat(parts), control=any(len(part) for part in controls)),
        style.PANEL["large"],
        columns=3,
    )
    for part, off, ax in zip(parts, controls, axes[0], strict=True):
        scatter.draw_points(ax, off, results, "quirkiness", 4.5, control=True)
        scatter.draw_points(ax, part, results, "quirkiness", 6)
        scatter.auroc_axis(ax)
        ax.axvline(0, color=style.INK, lw=0.6)
        ax.margins(x=0.08)
    for part, ax in zip(parts, axes[0], strict=True):
        if len(part) <= _MOST_LABELS:
            scatter.label_points(ax, part, results, "quirkiness")
    return figure


def _select(points: pd.DataFrame, feature: str, score: str, setting: str) -> pd.DataFrame:
    return points[(points["feature"] == feature) & (points["score"] == score) & (points["setting"] == setting)]
