"""Figure 11: AUROC at each layer against how far apart the characters are at that layer."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.errors import DataError
from madkit.figures.drawing import scatter, style
from madkit.figures.drawing.detectors import first_and_rest
from madkit.figures.drawing.page import Block, page
from madkit.figures.naming import score_name, slug
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.correlations import between, correlation_lines
from madkit.statistics.logistic_curve import LogisticCurve, fit_logistic_curve

_LEAST = 6  # points that a curve is fitted to


@artist(11, "What explains detection")
def separation(results: Results) -> Iterator[Sheet]:
    """One sheet per feature that has a separation: a panel per score, a point per model, dataset and layer."""
    at_sites = results.separation[["model", "dataset", "feature", "site", "separation"]]
    rows = results.inside()
    rows = rows[(rows["site"] != "aggregate") & (rows["subset"] == "all")]
    points = rows.merge(at_sites, on=["model", "dataset", "feature", "site"])
    # A log axis has no place for 0: characters that do not differ at all at a site.
    points = points[(points["separation"] > 0) & points["auroc"].notna()]
    for aside, triples in enumerate(first_and_rest(points)):
        for feature in dict.fromkeys(feature for feature, _, _ in triples):
            panels = [(score, setting) for name, score, setting in triples if name == feature]
            name = f"fig11_auroc_vs_separation_{slug(feature)}" + "_others" * aside
            yield Sheet(name, _draw(results, points, feature, panels, aside > 0), aside=aside > 0)


def _draw(
    results: Results, points: pd.DataFrame, feature: str, panels: Sequence[tuple[str, str]], aside: bool
) -> Figure:
    own = points[points["feature"] == feature]
    parts = [own[(own["score"] == score) & (own["setting"] == setting)] for score, setting in panels]
    ends = decades(own["separation"].to_numpy(float))
    low, high = np.log10(ends)
    places = np.linspace(low, high, 120)
    titles, curves = [], []
    for (score, setting), part in zip(panels, parts, strict=True):
        groups = list(zip(part["model"], part["dataset"], strict=True))
        x = np.log10(part["separation"].to_numpy(float))
        curve = _curve(x, part["auroc"].to_numpy(float), places, groups)
        words = correlation_lines(x, part["auroc"], groups)
        fit = f"curve: R² {between(curve.r_squared)}" if curve else "no curve"
        titles.append(f"{score_name(score)}, {setting}\n{words}{', ' if chr(10) in words else chr(10)}{fit}")
        curves.append(curve)
    legends: list[list[Line2D]] = scatter.legend(results, own, control=False)
    legends[0] += [Line2D([], [], color=style.INK, lw=1.2, label="fitted logistic curve with its 95% band")]
    figure, axes = page(
        f"AUROC of {feature.replace('_', ' ')} against separation, by layer" + " (other scores)" * aside,
        "A point per model, dataset and layer (n), all test prompts; bars: 95% intervals of the AUROC. "
        "Separation: squared distance of the two characters' mean vectors over the total variance. Curve: "
        "1/2 + logistic(a + b log separation) / 2 by least squares. Pearson's is on log separation. Intervals: "
        "bootstrap of models and datasets, whose layers belong together. Sites with separation 0 are left out.",
        [Block(titles, "separation (no unit, log scale)", "AUROC")],
        legends,
        style.PANEL["large"],
        columns=3,
    )
    for part, curve, ax in zip(parts, curves, axes[0], strict=True):
        log_axis(ax, ends)
        if curve is not None:
            ax.plot(10**places, curve.value, color=style.INK, lw=1.2, zorder=1)
            ax.fill_between(10**places, curve.low, curve.high, color=style.INK, alpha=0.1, lw=0, zorder=0)
        scatter.draw_points(ax, part, results, "separation", 4 if len(part) <= 100 else 3)
        scatter.auroc_axis(ax)
    return figure


def _curve(x: np.ndarray, y: np.ndarray, places: np.ndarray, groups: Sequence[tuple[str, str]]) -> LogisticCurve | None:
    """The fitted curve, unless there is too little to fit."""
    if len(x) < _LEAST or len(set(groups)) < 2:
        return None
    try:
        return fit_logistic_curve(x, y, places, groups=groups)
    except DataError:
        return None


def decades(values: np.ndarray) -> tuple[float, float]:
    """The powers of ten around positive values, so that a log axis always has labels, and never too many."""
    low, high = np.floor(np.log10(values.min() * 0.95)), np.ceil(np.log10(values.max() * 1.05))
    return float(10**low), float(10**high)


def log_axis(ax: Axes, ends: tuple[float, float], axis: str = "x") -> None:
    """A log axis from one power of ten to another."""
    from matplotlib.ticker import LogLocator, NullFormatter

    scale, limits = (ax.set_xscale, ax.set_xlim) if axis == "x" else (ax.set_yscale, ax.set_ylim)
    scale("log")
    limits(*ends)
    own = ax.xaxis if axis == "x" else ax.yaxis
    own.set_major_locator(LogLocator(subs=(1, 2, 5) if ends[1] / ends[0] < 999 else (1,)))
    own.set_major_formatter("{x:g}")
    own.set_minor_formatter(NullFormatter())
