"""Training curves: losses, and accuracies of each character, one page per model."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_panels

_METRICS = {
    "train/loss": ("training loss", style.GREY, "-"),
    "val/loss": ("validation loss", None, "-"),
    "val/alice_accuracy": ("Alice prompts, Alice's labels", style.INK, "-"),
    "val/bob_accuracy": ("Bob prompts, Bob's labels", None, "-."),
    "val/bob_truth_accuracy": ("Bob prompts, the truth", None, ":"),
}
"""Label, colour (None: that of the model) and line of each metric."""
_ENCODER_METRICS = ("val/bits_per_dim", "val/fvu")
"""What flows and sparse autoencoders are validated by: their losses are in other units than nats."""
_DESCRIBED = 60  # points of a curve that can be pointed at
_QUANTITIES = {"loss": "loss (nats)", "accuracy": "accuracy"}


@artist("training")
def training(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a block of losses and a block of accuracies, a panel per dataset."""
    results = first_panels(results)
    colors = style.model_colors(results.models)
    history = results.history
    runs = pd.MultiIndex.from_frame(history[["model", "dataset"]])
    of_encoders = runs.isin(runs[history["metric"].isin(_ENCODER_METRICS)])
    curves = history[~of_encoders & history["metric"].isin(_METRICS)]
    for (model,), rows in grouped(curves, "model"):
        parts = {quantity: rows[rows["metric"].str.endswith(quantity)] for quantity in _QUANTITIES}
        parts = {quantity: part for quantity, part in parts.items() if not part.empty}
        blocks = [
            PanelBlock(ordered_datasets(part["dataset"]), "optimizer step", _QUANTITIES[quantity], shared=False)
            for quantity, part in parts.items()
        ]
        legends = [
            [
                Line2D([], [], color=color or colors[model], ls=line, label=label)
                for metric, (label, color, line) in _METRICS.items()
                if metric in set(part["metric"])
            ]
            for part in parts.values()
        ]
        figure, axes = panel_page(
            f"{model}: training curves{results.shown}",
            "Loss and accuracy while the model is trained, without smoothing; open circles: the lowest "
            "validation loss.",
            blocks,
            legends,
        )
        for block, block_axes, part in zip(blocks, axes, parts.values(), strict=True):
            for dataset, ax in zip(block.panels, block_axes, strict=True):
                _panel(ax, part[part["dataset"] == dataset], colors[model])
        yield Sheet(f"training_{results.slug(model)}", figure, model)


def _panel(ax: Axes, rows: pd.DataFrame, model_color: str) -> None:
    runs = rows["run"] if "run" in rows else pd.Series("", index=rows.index)
    for (_, metric), curve in rows.groupby([runs, "metric"]):
        # A resumed run logs some steps twice: the later entry is what training went on with.
        curve = curve.drop_duplicates("step", keep="last").sort_values("step")
        step, value = curve["step"].to_numpy(float), curve["value"].to_numpy(float)
        label, color, line = _METRICS[str(metric)]
        alone = len(step) == 1
        ax.plot(step, value, color=color or model_color, ls=line, lw=1.1, marker="." if alone else None)
        indices = np.unique(np.linspace(0, len(step) - 1, min(len(step), _DESCRIBED)).round().astype(int))
        (points,) = ax.plot(step[indices], value[indices], ls="", marker=None)
        entries = zip(step[indices], value[indices], strict=True)
        dataset = rows["dataset"].iloc[0]
        describe_points(points, [f"{dataset}, {label}, step {s:.0f}: {v:.4f}" for s, v in entries])
        if metric == "val/loss" and np.isfinite(value).any():
            best = np.nanargmin(value)
            ax.plot(step[best], value[best], "o", mfc="white", color=model_color, ms=4)
    if rows["metric"].str.endswith("accuracy").any():
        ax.set_ylim(-0.03, 1.03)
    else:
        ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", nbins=4)
