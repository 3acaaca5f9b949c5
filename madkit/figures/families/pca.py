"""The states of a site in their two widest directions, coloured by who speaks."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_matrix import FEW_COLUMNS, panel_matrix
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range
from madkit.figures.published.names import published_order
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_panels

MAIN = "activations"
_MOST_SITES = 4  # rows of panels; of more sites only some are drawn


@artist("detection", after="histograms")
def pca(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a row of panels per site of the activations, at most four, and a panel per dataset.

    In the report another one, with the middle site of each other feature.
    """
    results = first_panels(results)
    colors = style.model_colors(results.models)
    for model, datasets in results.datasets_of_models.items():
        parts = [part for name in datasets if len(part := _points(results, model, name))]
        if not parts:
            continue
        part = pd.concat(parts)
        activations = part[part["feature"] == MAIN]
        names = {(MAIN, site): _short(site) for site in _evenly_spaced(activations, _MOST_SITES)}
        if names:
            figure = _draw(f"{model}{results.shown}: activations of test prompts", activations, names, colors[model])
            yield Sheet(f"pca_{MAIN}_{results.slug(model)}", figure, model)
        published = published_order("feature")
        names = {}
        for feature in sorted(set(part["feature"]) - {MAIN}, key=lambda name: (name not in published, name)):
            sites = _evenly_spaced(part[part["feature"] == feature], 3)
            names[feature, sites[len(sites) // 2]] = f"{feature}\n{_short(sites[len(sites) // 2])}"
        if names:
            figure = _draw(f"{model}{results.shown}: other features of test prompts", part, names, colors[model])
            yield Sheet(f"pca_others_{results.slug(model)}", figure, model, report_only=True)


def _points(results: Results, model: str, dataset: str) -> pd.DataFrame:
    """The prompts of one run on their components, with who speaks; empty where it has none."""
    points, prompts = results.pca(model, dataset), results.prompts(model, dataset)
    columns = ["row", "character", "agree", *({"prompt"} & set(prompts))]
    return points[~points["control"]].merge(prompts[columns], on="row")


def _evenly_spaced(rows: pd.DataFrame, most: int) -> list[str]:
    """At most so many sites of one feature, from the first to the last layer."""
    sites = list(dict.fromkeys(rows.sort_values(["layer", "site"])["site"]))
    indices = np.unique(np.linspace(0, len(sites) - 1, min(len(sites), most)).round().astype(int))
    return [str(sites[index]) for index in indices]


def _draw(title: str, rows: pd.DataFrame, names: dict[tuple[str, str], str], color: str) -> Figure:
    """A row of panels for each feature and site that has a name."""
    parts = {
        (names[feature, site], dataset): part
        for (feature, site, dataset), part in grouped(rows, "feature", "site", "dataset")
        if (feature, site) in names
    }
    counts = count_range(len(part) for part in parts.values())
    figure, axes = panel_matrix(
        f"{title} in their two widest directions",
        "Principal components of the test prompts of each site and dataset, not told who speaks; at the corner the "
        f"share of the variance that the two directions hold; n = {counts} prompts a panel.",
        list(names.values()),
        ordered_datasets(dataset for _, dataset in parts),
        set(parts),
        ("first component (its own unit)", "second"),
        [
            [
                Line2D([], [], color=style.GREY, marker="o", ms=3.5, ls="", label="Alice: normal"),
                Line2D([], [], color=color, marker="o", ms=3.5, ls="", label="Bob: quirky, anomalous"),
            ]
        ],
        shared=False,
        panel=(1.9, 1.75) if rows["dataset"].nunique() <= FEW_COLUMNS else (1.35, 1.35),
    )
    for key, part in parts.items():
        _panel(axes[key], part, color, key[1])
    return figure


def _short(site: str) -> str:
    """The site without what all sites of transformers share.

    Example:
        >>> _short("model.layers.3.output")
        'layer 3 output'
    """
    return site.replace("model.layers.", "layer ").replace(".", " ")


def _panel(ax: Axes, part: pd.DataFrame, color: str, dataset: str) -> None:
    # In the order of the prompts, so that neither character hides the other.
    part = part.sort_values("row", kind="stable")
    bob = (part["character"] == "Bob").to_numpy()
    xy = part[["first", "second"]].to_numpy(float)
    shades = np.where(bob, color, style.GREY)
    ax.scatter(xy[:, 0], xy[:, 1], s=2.5, c=shades, alpha=0.55, lw=0, rasterized=True)
    texts = part["prompt"] if "prompt" in part else part["row"].map(lambda row: f"prompt {row}")
    few = slice(None, None, max(1, len(part) // 150))
    (points,) = ax.plot(*xy[few].T, ls="", marker=None)
    prompts = zip(part["character"].iloc[few], texts.iloc[few], strict=True)
    describe_points(points, [f"{dataset}, {character}: {str(text)[:160]}" for character, text in prompts])
    share = float(part["first_share"].iloc[0] + part["second_share"].iloc[0])
    ax.text(
        0.97, 0.97, f"{share:.0%}", transform=ax.transAxes, ha="right", va="top", size=6.5, color=style.INK
    ).set_in_layout(False)
    ax.set_xticklabels([])
    ax.set_yticklabels([])
    ax.margins(0.06)
