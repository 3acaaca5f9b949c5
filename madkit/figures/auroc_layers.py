"""Figures 1 to 4: AUROC at each layer and aggregated over them, online and offline, one page per model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures import style
from madkit.figures.naming import CONTROL, count_range, detector_name
from madkit.figures.page import Block, page
from madkit.figures.registry import Sheet, artist
from madkit.figures.results import Results, grouped, in_order

_NUMBERS = {"online": "fig01-02", "offline": "fig03-04"}
_TITLES = {"ceiling": "how well a probe that is told the labels finds the quirk (the ceiling), by layer"}
_PER_PAGE = 4  # detectors: with twelve datasets, this many blocks are still one sheet of paper
_TICKS = 6

Detector = tuple[str, str]


@artist
def auroc_layers(results: Results) -> Iterator[Sheet]:
    """One sheet per model and setting: a block per detector, a panel per dataset, the control in grey."""
    table = results.detection[results.detection["subset"] == "all"]
    # What has no layer has no curve over them.
    table = table[table["feature"].isin(set(results.inside()["feature"]))]
    whole = results.aggregate()
    colors = style.model_colors(results.models)
    for (model, setting), rows in grouped(table[table["site"] != "aggregate"], "model", "setting"):
        aggregated = whole[(whole["model"] == model) & (whole["setting"] == setting) & (whole["subset"] == "all")]
        own = rows[~rows["feature"].str.startswith(CONTROL)]
        detectors = sorted(set(zip(own["feature"], own["score"], strict=True)))
        for start in range(0, len(detectors), _PER_PAGE):
            part = f"_{start // _PER_PAGE + 1}" if len(detectors) > _PER_PAGE else ""
            yield Sheet(
                f"{_NUMBERS.get(setting, 'fig01-04')}_auroc_{setting}_{results.slug(model)}{part}",
                _draw(
                    f"{model}: " + _TITLES.get(setting, f"how well {setting} scores find the quirk, by layer"),
                    rows,
                    aggregated,
                    detectors[start : start + _PER_PAGE],
                    colors[model],
                ),
            )


def _draw(
    title: str, rows: pd.DataFrame, aggregated: pd.DataFrame, detectors: Sequence[Detector], color: str
) -> Figure:
    blocks = []
    for feature, score in detectors:
        panels = in_order(_select(rows, feature, score)["dataset"])
        blocks.append(Block(panels, "layer number", "AUROC", detector_name(feature, score)))
    normal, anomalous = count_range(rows["n_normal"]), count_range(rows["n_anomalous"])
    legend = [
        Line2D([], [], color=color, marker="o", label="quirky model"),
        Line2D([], [], color=style.GREY, ls="--", lw=0.9, label="control: same prompts, adapter off"),
        Line2D([], [], color=style.INK, ls=":", lw=0.8, label="chance (0.5)"),
    ]
    figure, axes = page(
        title,
        f"AUROC of quirky (anomalous) against normal test prompts; n = {normal} normal and {anomalous} "
        "anomalous prompts per dataset. Bands and whiskers: 95% intervals. "
        '"agg": the mean of the score over all layers.',
        blocks,
        [legend],
    )
    for block, block_axes, (feature, score) in zip(blocks, axes, detectors, strict=True):
        curves = pd.concat([_select(rows, name, score) for name in (feature, CONTROL + feature)])
        sites = list(dict.fromkeys(curves.sort_values(["layer", "site"])["site"]))
        labels = _labels(curves, sites)
        for dataset, ax in zip(block.panels, block_axes, strict=True):
            _axes(ax, labels)
            for name, line in ((CONTROL + feature, style.GREY), (feature, color)):
                here = _select(rows, name, score)
                total = _select(aggregated, name, score)
                _curve(ax, here[here["dataset"] == dataset], total[total["dataset"] == dataset], sites, line)
    return figure


def _select(rows: pd.DataFrame, feature: str, score: str) -> pd.DataFrame:
    return rows[(rows["feature"] == feature) & (rows["score"] == score)]


def _labels(curves: pd.DataFrame, sites: list[str]) -> list[str]:
    """The layer's number, or the site's name where it has none."""
    layers = curves.drop_duplicates("site").set_index("site")["layer"]
    return [site if pd.isna(layers[site]) else str(int(layers[site])) for site in sites]


def _axes(ax: Axes, labels: Sequence[str]) -> None:
    """Sites are equally spaced; the aggregate stands apart at the right."""
    shown = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _TICKS)).round().astype(int))
    end = len(labels) + 0.5
    ax.set_xticks([*shown, end], [*(labels[i] for i in shown), "agg"])
    ax.set_xlim(-0.7, end + 0.7)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
    ax.axhline(0.5, color=style.INK, ls=":", lw=0.8)
    ax.axvline(len(labels) - 0.25, color=style.FAINT, lw=0.7)


def _curve(ax: Axes, rows: pd.DataFrame, total: pd.DataFrame, sites: list[str], color: str) -> None:
    control = color == style.GREY
    look: dict[str, Any] = {"color": color, "lw": 0.9 if control else 1.4}
    if not rows.empty:
        # A site that this dataset lacks leaves a gap in the line.
        curve = rows.drop_duplicates("site").set_index("site").reindex(sites)[["auroc", "low", "high"]]
        value, low, high = curve.to_numpy(float).T
        x = np.arange(len(sites))
        ax.plot(x, value, ls="--" if control else "-", marker=None if control else "o", ms=2.6, **look)
        if len(sites) > 1:
            ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
        else:
            ax.vlines(x, low, high, **look)
    if not total.empty:
        value, low, high = total[["auroc", "low", "high"]].to_numpy(float)[0]
        # Side by side, so that the control's whisker does not hide under the model's.
        place = len(sites) + 0.5 + (0.25 if control else -0.05)
        ax.vlines([place], [low], [high], **look)
        ax.plot([place], [value], marker="_" if control else "o", ms=5 if control else 3.5, color=color)
