"""AUROC at each layer against how far apart the characters are at that layer."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.errors import DataError
from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import main_and_further
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.scatter import auroc_axis, decades, draw_points, log_axis, scatter_legend
from madkit.figures.naming import score_name, slug
from madkit.figures.published.figures import counterpart
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.results.selection import first_models
from madkit.figures.tables.correlations import between, correlation_lines
from madkit.statistics.logistic_curve import LogisticCurve, fit_logistic_curve

_FEWEST = 6  # points that a curve is fitted to


@artist("explanation", after="quirkiness")
def separation(results: Results) -> Iterator[Sheet]:
    """One sheet per feature that has a separation: a panel per score, a point per model, dataset and layer."""
    results = first_models(results)
    at_sites = results.separation[["model", "dataset", "feature", "control", "site", "separation"]]
    rows = results.of_layers()
    rows = rows[(rows["site"] != "aggregate") & (rows["subset"] == "all")]
    points = rows.merge(at_sites, on=["model", "dataset", "feature", "control", "site"])
    # A log axis has no 0: characters that do not differ at all at a site.
    points = points[(points["separation"] > 0) & points["auroc"].notna()]
    for further, triples in enumerate(main_and_further(points)):
        for feature in dict.fromkeys(feature for feature, _, _ in triples):
            panels = [(score, setting) for name, score, setting in triples if name == feature]
            name = f"auroc_vs_separation_{slug(feature)}" + "_others" * further
            yield Sheet(name, _draw(results, points, feature, panels, further > 0), report_only=further > 0)


def _draw(
    results: Results, points: pd.DataFrame, feature: str, panels: Sequence[tuple[str, str]], further: bool
) -> Figure:
    points = points[(points["feature"] == feature) & ~points["control"]]
    parts = [points[(points["score"] == score) & (points["setting"] == setting)] for score, setting in panels]
    ends = decades(points["separation"].to_numpy(float))
    low, high = np.log10(ends)
    grid = np.linspace(low, high, 120)
    titles, curves = [], []
    for (score, setting), part in zip(panels, parts, strict=True):
        groups = list(zip(part["model"], part["dataset"], strict=True))
        x = np.log10(part["separation"].to_numpy(float))
        curve = _curve(x, part["auroc"].to_numpy(float), grid, groups)
        correlations = correlation_lines(x, part["auroc"], groups)
        fit = f"curve: R² {between(curve.r_squared)}" if curve else "no curve"
        titles.append(
            f"{score_name(score)}, {setting}\n{correlations}{', ' if chr(10) in correlations else chr(10)}{fit}"
        )
        curves.append(curve)
    legends: list[list[Line2D]] = scatter_legend(results, points, control=False)
    legends[0] += [Line2D([], [], color=style.INK, lw=1.2, label="fitted logistic curve with its 95% band")]
    figure, axes = panel_page(
        f"AUROC of {feature.replace('_', ' ')} against separation, by layer"
        + " (other scores)" * further
        + results.shown,
        "A point per model, dataset and layer (n), all test prompts; bars: 95% intervals of the AUROC. "
        "Separation: squared distance of the two characters' mean vectors over the total variance. Curve: "
        "1/2 + logistic(a + b log separation) / 2 by least squares. Pearson's is on log separation. Intervals: "
        "bootstrap of models and datasets, whose layers belong together; of R² Fisher's (1921), for the same groups. "
        f"Sites with separation 0 are left out. {counterpart(11)}",
        [PanelBlock(titles, "separation (no unit, log scale)", "AUROC")],
        legends,
        style.PANEL["large"],
        columns=3,
    )
    for part, curve, ax in zip(parts, curves, axes[0], strict=True):
        log_axis(ax, ends)
        if curve is not None:
            ax.plot(10**grid, curve.value, color=style.INK, lw=1.2, zorder=1)
            ax.fill_between(10**grid, curve.low, curve.high, color=style.INK, alpha=0.1, lw=0, zorder=0)
        draw_points(ax, part, results, "separation", 4 if len(part) <= 100 else 3)
        auroc_axis(ax)
    return figure


def _curve(x: np.ndarray, y: np.ndarray, grid: np.ndarray, groups: Sequence[tuple[str, str]]) -> LogisticCurve | None:
    """The fitted curve, unless there is too little to fit."""
    if len(x) < _FEWEST or len(set(groups)) < 2:
        return None
    try:
        return fit_logistic_curve(x, y, grid, groups=groups)
    except DataError:
        return None
