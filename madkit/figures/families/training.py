"""Training curves: losses, and accuracies of each character, one page per model."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.page import Block, page
from madkit.figures.drawing.tooltips import tell
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, in_order

_LOOKS = {
    "train/loss": ("training loss", style.GREY, "-"),
    "val/loss": ("validation loss", None, "-"),
    "val/alice_accuracy": ("Alice prompts, Alice's labels", style.INK, "-"),
    "val/bob_accuracy": ("Bob prompts, Bob's labels", None, "-."),
    "val/bob_truth_accuracy": ("Bob prompts, the truth", None, ":"),
}
"""Label, colour (None: the model's own) and line of each metric."""
_HEADS = ("val/bits_per_dim", "val/fvu")
"""What flows and sparse autoencoders are validated by: their losses are in other units than nats."""
_SPOKEN = 60  # points of a curve that can be asked for
_KINDS = {"loss": "loss (nats)", "accuracy": "accuracy"}


@artist(80, "How the models were trained")
def training(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a block of losses and a block of accuracies, a panel per dataset."""
    colors = style.model_colors(results.models)
    history = results.history
    places = pd.MultiIndex.from_frame(history[["model", "dataset"]])
    language = ~places.isin(places[history["metric"].isin(_HEADS)])
    known = history[language & history["metric"].isin(_LOOKS)]
    for (model,), rows in grouped(known, "model"):
        kinds = {kind: rows[rows["metric"].str.endswith(kind)] for kind in _KINDS}
        kinds = {kind: part for kind, part in kinds.items() if not part.empty}
        blocks = [
            Block(in_order(part["dataset"]), "optimizer step", _KINDS[kind], shared=False)
            for kind, part in kinds.items()
        ]
        legends = [
            [
                Line2D([], [], color=color or colors[model], ls=line, label=label)
                for metric, (label, color, line) in _LOOKS.items()
                if metric in set(part["metric"])
            ]
            for part in kinds.values()
        ]
        figure, axes = page(
            f"{model}: training curves",
            "Loss and accuracy while the model is trained, without smoothing; open circles: the lowest "
            "validation loss.",
            blocks,
            legends,
        )
        for block, block_axes, part in zip(blocks, axes, kinds.values(), strict=True):
            for dataset, ax in zip(block.panels, block_axes, strict=True):
                _panel(ax, part[part["dataset"] == dataset], colors[model])
        yield Sheet(f"training_{results.slug(model)}", figure, model)


def _panel(ax: Axes, rows: pd.DataFrame, model_color: str) -> None:
    runs = rows["run"] if "run" in rows else pd.Series("", index=rows.index)
    for (_, metric), curve in rows.groupby([runs, "metric"]):
        # A resumed run logs some steps twice: the later entry is what training went on with.
        curve = curve.drop_duplicates("step", keep="last").sort_values("step")
        step, value = curve["step"].to_numpy(float), curve["value"].to_numpy(float)
        label, color, line = _LOOKS[str(metric)]
        alone = len(step) == 1
        ax.plot(step, value, color=color or model_color, ls=line, lw=1.1, marker="." if alone else None)
        asked = np.unique(np.linspace(0, len(step) - 1, min(len(step), _SPOKEN)).round().astype(int))
        (points,) = ax.plot(step[asked], value[asked], ls="", marker=None)
        spoken = zip(step[asked], value[asked], strict=True)
        dataset = rows["dataset"].iloc[0]
        tell(points, [f"{dataset}, {label}, step {s:.0f}: {v:.4f}" for s, v in spoken])
        if metric == "val/loss" and np.isfinite(value).any():
            best = np.nanargmin(value)
            ax.plot(step[best], value[best], "o", mfc="white", color=model_color, ms=4)
    if rows["metric"].str.endswith("accuracy").any():
        ax.set_ylim(-0.03, 1.03)
    else:
        ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", nbins=4)
