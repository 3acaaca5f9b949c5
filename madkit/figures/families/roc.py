"""ROC curves of aggregated detectors, one page per model and setting."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import Detector, main_detectors
from madkit.figures.drawing.panel_matrix import FEW_COLUMNS, panel_matrix
from madkit.figures.drawing.style import LineStyle, line_styles
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range, detector_name, score_name, setting_order
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_panels
from madkit.statistics.clustered_prompts import prompt_clusters
from madkit.statistics.roc_curve import independent_rows, roc, roc_band

_DESCRIBED = 40  # points of a curve that can be pointed at


@artist("detection", after="heat_map")
def roc_curves(results: Results) -> Iterator[Sheet]:
    """One sheet per model and setting: a row of panels per feature, a panel per dataset, a curve per score."""
    results = first_panels(results)
    table = results.aggregated()
    table = table[(table["subset"] == "all") & (table["setting"] != "ceiling")]
    colors = style.model_colors(results.models)
    for (model, setting), rows in sorted(
        grouped(table, "model", "setting"), key=lambda page: setting_order(page[0][1])
    ):
        detectors = main_detectors(rows)
        curves = _curves(results, model, ordered_datasets(rows["dataset"]), detectors)
        if curves:
            figure = _draw(f"{model}: ROC curves of {setting} scores{results.shown}", curves, detectors, colors[model])
            yield Sheet(f"roc_{setting}_{results.slug(model)}", figure, model)


Scores = dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]]


def _curves(results: Results, model: str, datasets: list[str], detectors: list[Detector]) -> Scores:
    """Scores (n,), labels (n,) and what belongs together (n,) of each dataset, feature and score."""
    scores: Scores = {}
    for dataset in datasets:
        table = results.scores(model, dataset, detectors)
        table = table[~table["control"]]
        for feature, score in detectors:
            part = table[(table["feature"] == feature) & (table["score"] == score)]
            labels = (part["character"] == "Bob").to_numpy()
            values = part["value"].to_numpy(float)
            if labels.any() and not labels.all() and np.isfinite(values).all():
                clusters = prompt_clusters(part["statement"], part["name"], labels)
                scores[dataset, feature, score] = values, labels, clusters
    return scores


def _draw(title: str, curves: Scores, detectors: list[Detector], color: str) -> Figure:
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in curves))
    features = [
        feature for feature in dict.fromkeys(f for f, _ in detectors) if any(f == feature for _, f, _ in curves)
    ]
    styles = line_styles((score for _, _, score in curves), color)
    normal = count_range((~labels).sum() for _, labels, _ in curves.values())
    anomalous = count_range(labels.sum() for _, labels, _ in curves.values())
    statements = count_range(len(np.unique(clusters[0])) for _, _, clusters in curves.values())
    size = (1.9, 1.75) if len(datasets) <= FEW_COLUMNS else style.PANEL["narrow"]
    figure, axes = panel_matrix(
        title,
        f"Mean of the score over layers; n = {normal} normal and {anomalous} anomalous prompts of {statements} "
        "statements per dataset. Bands: 95%, for the whole curve at once (Campbell 1994), with as many prompts as "
        "those of shared statements and speakers are worth. False positives are normal prompts above a threshold.",
        features,
        datasets,
        {(feature, dataset) for dataset, feature, _ in curves},
        ("false positive rate", "true positive\nrate"),
        [
            [
                *(
                    Line2D([], [], color=line.color, ls=line.line, label=score_name(score))
                    for score, line in styles.items()
                ),
                Line2D([], [], color=style.INK, ls=":", lw=0.8, label="chance"),
            ]
        ],
        panel=size,
    )
    for (feature, dataset), ax in axes.items():
        ax.plot([0, 1], [0, 1], color=style.INK, ls=":", lw=0.8)
        for key, (values, labels, clusters) in curves.items():
            if key[:2] == (dataset, feature):
                _curve(ax, values, labels, clusters, styles[key[2]], f"{dataset}, {detector_name(*key[1:])}")
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    return figure


def _curve(
    ax: Axes,
    values: np.ndarray,
    labels: np.ndarray,
    clusters: tuple[np.ndarray, ...],
    line: LineStyle,
    name: str,
) -> None:
    curve = roc(values, labels)
    low, high = roc_band(curve, *independent_rows(values, labels, clusters))
    grid = np.linspace(0, 1, 201)
    # Between two ends of one rate, the lower curve takes its least and the upper its greatest.
    edges = np.interp(grid, low.fpr, low.tpr, left=0), np.interp(grid, high.fpr, high.tpr, right=1)
    ax.fill_between(grid, *edges, color=line.color, alpha=0.13, lw=0)
    ax.plot(curve.fpr, curve.tpr, color=line.color, ls=line.line, lw=1.3)
    indices = np.unique(np.linspace(0, len(curve.fpr) - 1, _DESCRIBED).round().astype(int))
    (points,) = ax.plot(curve.fpr[indices], curve.tpr[indices], ls="", marker=None)
    rates = zip(curve.fpr[indices], curve.tpr[indices], strict=True)
    describe_points(points, [f"{name}: true positives {t:.3f} at false positives {f:.3f}" for f, t in rates])
