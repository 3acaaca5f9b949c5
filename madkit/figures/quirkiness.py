"""Figures 7 and 8: does a quirkier model have a better AUROC? One page per feature."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures import scatter, style
from madkit.figures.correlations import correlation_line
from madkit.figures.naming import CONTROL, slug
from madkit.figures.page import PANEL, Block, page
from madkit.figures.registry import Sheet, artist
from madkit.figures.results import Results, grouped

_NUMBERS = {"activations": "fig07", "attribution": "fig08"}
_MOST_LABELS = 24  # with more points, names only hide them


@artist
def quirkiness(results: Results) -> Iterator[Sheet]:
    """One sheet per feature: a panel per score, a point per model and dataset."""
    columns = {"value": "quirkiness", "low": "x_low", "high": "x_high"}
    whole = results.aggregate()
    points = whole[whole["subset"] == "all"].merge(results.quirkiness.rename(columns=columns), on=["model", "dataset"])
    points = points.dropna(subset=["auroc", "quirkiness"])
    points = points[points["setting"] != "ceiling"]
    layered = set(results.inside()["feature"])
    for feature in sorted({name for name in points["feature"] if name in layered and not name.startswith(CONTROL)}):
        yield _sheet(results, points, feature)


def _sheet(results: Results, points: pd.DataFrame, feature: str) -> Sheet:
    own = points[points["feature"] == feature]
    control = points[points["feature"] == CONTROL + feature]
    groups = list(grouped(own, "score", "setting"))
    titles = [
        f"{score.replace('_', ' ')}, {setting}\n" + correlation_line(part["quirkiness"], part["auroc"])
        for (score, setting), part in groups
    ]
    figure, axes = page(
        f"AUROC of {feature} against the quirkiness coefficient",
        "A point per model and dataset; AUROC aggregated over layers, all test prompts. Bars: 95% intervals "
        "in both directions. Quirkiness: how much better each character's own labels fit than the other's, "
        "the lesser of the two; below 0, a character does not behave as meant.",
        [Block(titles, "quirkiness coefficient (nats)", "AUROC")],
        scatter.legend(results, own, control=not control.empty),
        PANEL["large"],
        columns=2,
    )
    for ((score, setting), part), ax in zip(groups, axes[0], strict=True):
        off = control[(control["score"] == score) & (control["setting"] == setting)]
        scatter.draw_points(ax, off, results, "quirkiness", 4.5, control=True)
        scatter.draw_points(ax, part, results, "quirkiness", 6)
        scatter.auroc_axis(ax)
        ax.axvline(0, color=style.INK, lw=0.6)
        ax.margins(x=0.08)
    for (_, part), ax in zip(groups, axes[0], strict=True):
        if len(part) <= _MOST_LABELS:
            scatter.label_points(ax, part, results, "quirkiness")
    return Sheet(f"{_NUMBERS.get(feature, 'fig07-08')}_auroc_vs_quirkiness_{slug(feature)}", figure)
