"""Figure 11: AUROC at each layer against how far apart the characters are at that layer."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from madkit.figures import scatter
from madkit.figures.correlations import correlation_line
from madkit.figures.naming import slug
from madkit.figures.page import PANEL, Block, page
from madkit.figures.registry import Sheet, artist
from madkit.figures.results import Results, grouped


@artist
def separation(results: Results) -> Iterator[Sheet]:
    """One sheet per feature that has a separation: a panel per score, a point per model, dataset, layer."""
    at_sites = results.separation[["model", "dataset", "feature", "site", "separation"]]
    rows = results.inside()
    rows = rows[(rows["site"] != "aggregate") & (rows["subset"] == "all")]
    points = rows.merge(at_sites, on=["model", "dataset", "feature", "site"])
    # A log axis has no place for 0: characters that do not differ at all at a site.
    points = points[(points["separation"] > 0) & points["auroc"].notna()]
    for (feature,), own in grouped(points, "feature"):
        yield _sheet(results, own, feature)


def _sheet(results: Results, points: pd.DataFrame, feature: str) -> Sheet:
    groups = list(grouped(points, "score", "setting"))
    titles = [
        f"{score.replace('_', ' ')}, {setting}\n" + correlation_line(np.log10(part["separation"]), part["auroc"])
        for (score, setting), part in groups
    ]
    figure, axes = page(
        f"AUROC of {feature} against separation, by layer",
        "A point per model, dataset and layer, all test prompts; bars: 95% intervals of the AUROC. "
        "Separation: squared distance of the two characters' mean vectors over the total variance. Pearson's "
        "is on log separation; layers of one model are not independent, so intervals of correlations are too "
        "narrow. Sites with separation 0 are left out.",
        [Block(titles, "separation (no unit, log scale)", "AUROC")],
        scatter.legend(results, points, control=False),
        PANEL["large"],
        columns=2,
    )
    for (_, part), ax in zip(groups, axes[0], strict=True):
        _whole_decades(ax, points["separation"].to_numpy(float))
        scatter.draw_points(ax, part, results, "separation", 4 if len(part) <= 100 else 3)
        scatter.auroc_axis(ax)
    return Sheet(f"fig11_auroc_vs_separation_{slug(feature)}", figure)


def _whole_decades(ax: Axes, values: np.ndarray) -> None:
    """A log axis from one power of ten to another, so that it always has labels, and never too many."""
    low, high = np.floor(np.log10(values.min() * 0.95)), np.ceil(np.log10(values.max() * 1.05))
    ax.set_xscale("log")
    ax.set_xlim(10**low, 10**high)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 3 else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
