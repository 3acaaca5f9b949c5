"""Score histograms: what a detector gives to each character's prompts, where the labels agree and where not."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import Detector, main_detectors
from madkit.figures.drawing.panel_matrix import panel_matrix
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range, detector_name, score_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_panels

_BINS = 30
_SKEWED = 6.0  # times the median: a score that goes so far is drawn on a log axis
_TAIL = 0.01  # share of prompts beyond each end of the axis, which the outermost bins hold


@artist("detection", after="roc_curves")
def histograms(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a row of panels per feature, with its first score, and a panel per dataset."""
    results = first_panels(results)
    table = results.aggregated()
    table = table[(table["subset"] == "all") & (table["setting"] == "online")]
    colors = style.model_colors(results.models)
    for (model,), rows in grouped(table, "model"):
        firsts: dict[str, Detector] = {}
        for feature, score in main_detectors(rows):
            firsts.setdefault(feature, (feature, score))
        parts: dict[tuple[str, str], pd.DataFrame] = {}
        for dataset in ordered_datasets(rows["dataset"]):
            scores = results.scores(model, dataset, list(firsts.values()))
            for feature, score in firsts.values():
                part = scores[~scores["control"] & (scores["feature"] == feature) & (scores["score"] == score)]
                if len(part) and np.isfinite(part["value"].astype(float)).all():
                    # Prompts that nobody can answer wrongly count as those on which the labels agree.
                    known = part["agree"].astype("boolean").fillna(True).astype(bool)
                    parts[feature, dataset] = part[["character", "value"]].assign(agree=known)
        if parts:
            figure = _draw(model + results.shown, firsts, parts, colors[model])
            yield Sheet(f"scores_{results.slug(model)}", figure, model)


def _draw(model: str, firsts: dict[str, Detector], parts: dict[tuple[str, str], pd.DataFrame], color: str) -> Figure:
    datasets = ordered_datasets(dataset for _, dataset in parts)
    features = [feature for feature in firsts if any(feature == name for name, _ in parts)]
    rows = {feature: f"{feature}\n{score_name(firsts[feature][1])}" for feature in features}
    counts = [n for part in parts.values() for n in part.groupby(["character", "agree"]).size()]
    figure, axes = panel_matrix(
        f"{model}: scores of each character's prompts",
        "Mean of the score over layers; n = "
        f"{count_range(counts)} prompts of a character. Upwards: prompts on which the characters' "
        "labels agree; downwards: "
        "opposed. Each half is scaled to its own peak; scores with long tails are on a log axis. The "
        "outermost bins also hold the 1% of prompts beyond them. "
        "A good detector has Bob's prompts at the right of Alice's.",
        list(rows.values()),
        datasets,
        {(rows[feature], dataset) for feature, dataset in parts},
        ("score (its own unit, higher is more anomalous)", "share of prompts"),
        [[Patch(facecolor=style.FAINT, edgecolor=style.GREY, label="Alice: normal"), _patch(color)]],
        shared=False,
    )
    for (feature, dataset), part in parts.items():
        name = f"{dataset}, {detector_name(*firsts[feature])}"
        _panel(axes[rows[feature], dataset], part, color, name)
    return figure


def _patch(color: str) -> Patch:
    return Patch(facecolor="none", edgecolor=color, lw=1.3, label="Bob: quirky, anomalous")


def _panel(ax: Axes, part: pd.DataFrame, color: str, name: str) -> None:
    values = part["value"].to_numpy(float)
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    if low == high:
        low, high = low - 0.5, high + 0.5
    # A long tail would leave everything else in one bin.
    skewed = low > 0 and high / np.median(values) > _SKEWED
    edges = np.geomspace(low, high, _BINS + 1) if skewed else np.linspace(low, high, _BINS + 1)
    inside = np.clip(values, low, high)
    bob, agree = (part["character"] == "Bob").to_numpy(), part["agree"].astype(bool).to_numpy()
    for side, subset in ((1, agree), (-1, ~agree)):
        shares = {
            character: np.histogram(inside[subset & speaks], edges)[0] / max(1, int((subset & speaks).sum()))
            for character, speaks in (("Alice", ~bob), ("Bob", bob))
        }
        peak = max(float(share.max()) for share in shares.values()) or 1.0
        ax.stairs(side * shares["Alice"] / peak, edges, fill=True, facecolor=style.FAINT, edgecolor=style.GREY, lw=0.6)
        ax.stairs(side * shares["Bob"] / peak, edges, color=color, lw=1.2)
        labels = "labels agree" if side > 0 else "labels opposed"
        centers = np.sqrt(edges[1:] * edges[:-1]) if skewed else (edges[1:] + edges[:-1]) / 2
        for character, share in shares.items():
            (points,) = ax.plot(centers, side * share / peak, ls="", marker=None)
            bins = zip(edges[:-1], edges[1:], share, strict=True)
            describe_points(
                points, [f"{name}, {character}, {labels}: {s:.1%} in {a:.3g} to {b:.3g}" for a, b, s in bins]
            )
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.set_ylim(-1.08, 1.08)
    ax.set_yticks([-0.5, 0.5], ["opposed", "agree"], rotation=90, va="center")
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    if skewed:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.locator_params(axis="x", nbins=3)
    ax.margins(x=0.02)
