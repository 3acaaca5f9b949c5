"""How far activation noise moves each model of the POSER pairs, and how strong it is for each."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.page import Block, page
from madkit.figures.drawing.tooltips import tell
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped

FILE = "poser/curves.parquet"
#: Below this a divergence is rounding, and zero has no place on a logarithmic axis.
LEAST = 1e-9


class Shown(NamedTuple):
    """One row of panels."""

    value: str
    label: str
    logarithmic: bool


ROWS = (
    Shown("kl", "KL from baseline (nats)", True),
    Shown("p_misaligned", "P(misaligned answer)", False),
    Shown("norm", "norm of the perturbation", False),
)


@artist(30, "Whole models under perturbation", reads=(FILE,))
def poser_curves(results: Results) -> Iterator[Sheet]:
    """One sheet per family and set of prompts: KL, answer and norm against the coefficient, a line per model."""
    curves = results.table(FILE)
    if curves.empty:
        return
    for (family, prompts), rows in grouped(curves, "model", "prompts"):
        colors = {False: style.PALETTE[0], True: style.PALETTE[1]}
        kinds = list(dict.fromkeys(rows["perturbation"]))
        counts = rows.groupby("misaligned")["lm"].nunique()
        figure, axes = page(
            f"{family}: models under perturbation of activations ({prompts} prompts)",
            f"A line per model ({counts.get(False, 0)} aligned, {counts.get(True, 0)} misaligned): mean over "
            f"{int(rows['n'].max())} prompts on which all behave alike; bands: 95% bootstrap intervals over prompts. "
            "Lowest row: how long the added vector is, which is where models differ whose steering vectors do.",
            [Block(kinds if row is ROWS[0] else [""] * len(kinds), "coefficient", row.label) for row in ROWS],
            [
                [
                    Line2D([], [], color=colors[False], label="aligned"),
                    Line2D([], [], color=colors[True], label="misaligned"),
                ]
            ],
            columns=max(len(kinds), 1),
        )
        for row, line in zip(ROWS, axes, strict=True):
            for kind, ax in zip(kinds, line, strict=True):
                _panel(ax, rows[rows["perturbation"] == kind], row, colors)
            if not row.logarithmic:  # the panels of a row share their axis
                top = f"{row.value}_high" if f"{row.value}_high" in rows else row.value
                line[0].set_ylim(0, 1.05 * rows[top].max())
        yield Sheet(f"poser_curves_{results.slug(family)}_{prompts}", figure, family)


def _panel(ax: Axes, rows: pd.DataFrame, shown: Shown, colors: dict[bool, str]) -> None:
    for (lm, misaligned), own in rows.groupby(["lm", "misaligned"]):
        own = own.sort_values("coefficient")
        if shown.logarithmic:
            own = own[own["coefficient"] != 0]
        color, x = colors[bool(misaligned)], own["coefficient"]
        y = own[shown.value].clip(lower=LEAST) if shown.logarithmic else own[shown.value]
        (drawn,) = ax.plot(x, y, color=color, lw=1.0)
        tell(drawn, [f"{lm}, coefficient {a:g}: {b:.3g}" for a, b in zip(x, y, strict=True)])
        if f"{shown.value}_low" in own:
            low, high = (own[f"{shown.value}_{end}"].clip(lower=LEAST) for end in ("low", "high"))
            ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    if shown.logarithmic:
        ax.set_yscale("log")
