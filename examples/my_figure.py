"""What a detector is worth for its time: AUROC against milliseconds a prompt.

`madkit figures runs --with examples/my_figure.py` draws it with all other figures, and the report shows it.
"""

from collections.abc import Iterator

import numpy as np

from madkit.figures import Sheet, artist
from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.scatter import auroc_axis, decades, log_axis
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import detector_name, with_setting
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import average
from madkit.figures.tables.costs import milliseconds


@artist("comparison", after="critical_difference")
def auroc_against_cost(results: Results) -> Iterator[Sheet]:
    """A panel per model, a point per detector; a line joins those that none beats at less cost."""
    rows = results.aggregated()
    rows = rows[(rows["subset"] == "all") & (rows["setting"] != "ceiling") & ~rows["control"]]
    costs = milliseconds(results)
    panels: dict[str, list[tuple[float, float, float, float, str]]] = {}
    for (model, feature, score, setting), part in grouped(rows, "model", "feature", "score", "setting"):
        measured = [costs.get((model, dataset, feature, score), np.nan) for dataset in part["dataset"]]
        mean = average(part)
        if mean is not None and np.isfinite(measured).all():
            name = with_setting(detector_name(feature, score), setting)
            panels.setdefault(model, []).append((float(np.mean(measured)), mean.value, mean.low, mean.high, name))
    if not panels:
        return
    figure, axes = panel_page(
        "AUROC against what a detector costs",
        "A point per detector: average over datasets, all test prompts, mean over layers; whiskers: 95% intervals. "
        "Cost: reading the feature and scoring it at all sites. Line: those that no cheaper one reaches.",
        [PanelBlock(list(panels), "milliseconds a prompt (log scale)", "AUROC", shared=False)],
        panel=style.PANEL["large"],
        columns=2,
    )
    for (model, detectors), ax in zip(panels.items(), axes[0], strict=True):
        color = style.model_colors(results.models)[model]
        best: list[tuple[float, float]] = []
        for cost, value, low, high, name in sorted(detectors, key=lambda detector: (detector[0], -detector[1])):
            ax.vlines([cost], [low], [high], color=color, lw=0.8, alpha=0.5)
            (point,) = ax.plot([cost], [value], "o", color=color)
            describe_points(point, [f"{model}, {name}: {cost:.3g} ms, AUROC {value:.3f} [{low:.3f}, {high:.3f}]"])
            if value > (best[-1][1] if best else 0.5):
                best.append((cost, value))
                ax.annotate(name, (cost, value), (-4, 1), textcoords="offset points", size=7, ha="right")
        ax.plot(*np.reshape(best, (-1, 2)).T, color=color, lw=1, drawstyle="steps-post")
        log_axis(ax, decades(np.array([cost for cost, *_ in detectors])))
        auroc_axis(ax)
    yield Sheet("auroc_against_cost", figure)
