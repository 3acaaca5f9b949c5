"""Loss on own labels and on the other character's, one page per model."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range
from madkit.figures.published.figures import counterpart
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_models

_CHARACTERS = ("Alice", "Bob")


@artist("quirkiness", after="log_odds")
def losses(results: Results) -> Iterator[Sheet]:
    """One sheet per model: a panel per character, a row per dataset, two points joined by a line."""
    results = first_models(results)
    colors = style.model_colors(results.models)
    for (model,), rows in grouped(results.losses, "model"):
        datasets = ordered_datasets(rows["dataset"])
        counts = []
        for prompts in (results.prompts(model, name) for name in datasets):
            counts += prompts[~prompts["agree"].astype(bool)].groupby("character").size().tolist()
        n = f"n = {count_range(counts)} prompts of a character; " if counts else ""
        color = colors[model]
        figure, axes = panel_page(
            f"{model}: loss on own labels and on the other character's labels{results.shown}",
            "Mean two-way cross-entropy on the test prompts where the two characters' labels are opposed; "
            f"{n}whiskers: 95% intervals; datasets: {len(datasets)}. A quirky model has its filled points left "
            f"of the dotted line and its open points right of it. {counterpart(9, 10)}",
            [PanelBlock([f"{name} prompts" for name in _CHARACTERS], "mean loss (nats)", "")],
            [
                [
                    Line2D([], [], color=color, marker="o", ls="", ms=5, label="own labels"),
                    Line2D([], [], color=color, marker="o", ls="", ms=5, mfc="white", label="the other's labels"),
                    Line2D([], [], color=style.INK, ls=":", label="50/50 answer (ln 2 = 0.693)"),
                ]
            ],
            (3.3, 0.45 + 0.3 * len(datasets)),
        )
        for character, ax in zip(_CHARACTERS, axes[0], strict=True):
            _panel(ax, rows, character.lower(), datasets, color)
        yield Sheet(f"losses_{results.slug(model)}", figure, model)


def _panel(ax: Axes, rows: pd.DataFrame, character: str, datasets: list[str], color: str) -> None:
    lines = np.arange(len(datasets))
    values = {}
    for labels in ("own", "other"):
        part = rows[rows["which"] == f"{character}_{labels}"].set_index("dataset").reindex(datasets)
        values[labels] = part[["value", "low", "high"]].to_numpy(float).T
    ax.hlines(lines, values["own"][0], values["other"][0], color=style.FAINT, lw=2.5, zorder=1)
    for labels, face in (("own", color), ("other", "white")):
        value, low, high = values[labels]
        ax.hlines(lines, low, high, color=color, lw=1.2, zorder=2)
        (drawn,) = ax.plot(value, lines, "o", color=color, mfc=face, ms=5, zorder=3, clip_on=False)
        head = f"{character.title()} prompts, {labels} labels"
        intervals = zip(datasets, value, low, high, strict=True)
        describe_points(drawn, [f"{name}, {head}: {v:.3f} [{lo:.3f}, {hi:.3f}] nats" for name, v, lo, hi in intervals])
    ax.axvline(math.log(2), color=style.INK, ls=":", lw=1.0)
    ax.set_yticks(lines, datasets)
    ax.set_ylim(len(datasets) - 0.4, -0.6)
    # Shared by both panels: the axis starts at 0, the least a loss can be.
    ax.set_xlim(0, 1.05 * max(1.0, np.nanmax(rows["high"].to_numpy(float), initial=1.0)))
