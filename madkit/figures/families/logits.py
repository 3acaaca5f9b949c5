"""Do separate states make separate answers? Separation and variance of the answer logits."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.scatter import decades, log_axis, scatter_legend
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.published.figures import counterpart
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.results.selection import first_models
from madkit.figures.tables.correlations import between
from madkit.statistics.correlation import r_squared

FEATURE = "activations"
_FEWEST = 4  # points that a line is fitted to
_AXES = {
    "separation": "separation of activations, mean over layers (no unit)",
    "logit_separation": "separation of the two answer logits (no unit)",
    "logit_variance": "variance of the two answer logits (squared nats)",
}
_FIGURES = {
    "logit_separation_vs_separation": (12, "Logit separation against separation", "separation", "logit_separation"),
    "logit_variance_vs_separation": (13, "Logit variance against separation", "separation", "logit_variance"),
    "logit_separation_vs_logit_variance": (
        14,
        "Logit separation against logit variance",
        "logit_variance",
        "logit_separation",
    ),
}


@artist("explanation", after="separation")
def logits(results: Results) -> Iterator[Sheet]:
    """Three sheets of one panel: a point per model and dataset, a line fitted on the two log scales, and its R^2."""
    results = first_models(results)
    points = _points(results)
    for name, (number, title, x, y) in _FIGURES.items():
        positive = points[(points[[x, y]] > 0).all(axis=1)] if len(points) else points
        if len(positive):
            yield _sheet(results, positive, name, number, title, x, y)


def _points(results: Results) -> pd.DataFrame:
    """One row per model and dataset with all three quantities."""
    table = results.separation[~results.separation["control"]]
    states = table[table["feature"] == FEATURE].groupby(["model", "dataset"])["separation"].mean()
    answers = table[table["feature"] == "logits"].set_index(["model", "dataset"])
    answers = answers.rename(columns={"separation": "logit_separation", "variance": "logit_variance"})
    columns = answers[["logit_separation", "logit_variance"]]
    return columns.join(states, how="inner").reset_index().astype(dict.fromkeys(_AXES, float))


def _sheet(results: Results, points: pd.DataFrame, name: str, number: int, title: str, x: str, y: str) -> Sheet:
    logs = np.log10(points[[x, y]].to_numpy(float))
    line = None
    fit = f"n = {len(points)}: too few points for a line"
    if len(points) >= _FEWEST and (np.ptp(logs, axis=0) > 0).all():
        line = np.polyfit(logs[:, 0], logs[:, 1], 1)
        fit = f"n = {len(points)}, R² {between(r_squared(*logs.T, groups=points['dataset'].tolist()))}"
    figure, axes = panel_page(
        title + results.shown,
        "A point per model and dataset, all test prompts. Separation: squared distance of the characters' means "
        "over the total variance; of states it is the mean over layers. "
        f"{'Line: least squares on both log scales. ' * (line is not None)}"
        "R² with its 95% interval: Fisher's (1921), for points that belong together by dataset. "
        f"{counterpart(number)}",
        [PanelBlock([fit], _AXES[x], _AXES[y])],
        scatter_legend(results, points, control=False),
        (5.6, 4.2),
    )
    ax = axes[0][0]
    ends = decades(points[x].to_numpy(float))
    log_axis(ax, ends)
    log_axis(ax, decades(points[y].to_numpy(float)), "y")
    if line is not None:
        span = np.log10([points[x].min(), points[x].max()])
        ax.plot(10**span, 10 ** np.polyval(line, span), color=style.INK, lw=1.0, zorder=1)
    colors, markers = style.model_colors(results.models), style.dataset_markers(results.datasets)
    for (model, dataset), rows in grouped(points, "model", "dataset"):
        (drawn,) = ax.plot(rows[x], rows[y], ls="", marker=markers[dataset], color=colors[model], ms=6.5)
        a, b = rows[x].iloc[0], rows[y].iloc[0]
        describe_points(drawn, [f"{model}, {dataset}: {x.replace('_', ' ')} {a:.3g}, {y.replace('_', ' ')} {b:.3g}"])
    return Sheet(name, figure)
