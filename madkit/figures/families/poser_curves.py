"""How far activation noise moves each model of the POSER pairs, and how strong it is for each."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped

FILE = "poser/curves.parquet"
_SMALLEST = 1e-9
"""Below this a divergence is rounding, and a logarithmic axis has no zero."""


class Quantity(NamedTuple):
    """What a row of panels shows."""

    column: str
    label: str
    logarithmic: bool


QUANTITIES = (
    Quantity("kl", "KL from baseline (nats)", True),
    Quantity("p_misaligned", "P(misaligned answer)", False),
    Quantity("norm", "norm of the perturbation", False),
)


@artist("perturbation", reads=(FILE,))
def poser_curves(results: Results) -> Iterator[Sheet]:
    """One sheet per family and set of prompts: KL, answer and norm against the coefficient, a line per model."""
    curves = results.table(FILE)
    if curves.empty:
        return
    for (family, prompts), rows in grouped(curves, "model", "prompts"):
        colors = {False: style.PALETTE[0], True: style.PALETTE[1]}
        perturbations = list(dict.fromkeys(rows["perturbation"]))
        counts = rows.groupby("misaligned")["lm"].nunique()
        figure, axes = panel_page(
            f"{family}: models under perturbation of activations ({prompts} prompts)",
            f"A line per model ({counts.get(False, 0)} aligned, {counts.get(True, 0)} misaligned): mean over "
            f"{int(rows['n'].max())} prompts on which all behave alike; bands: 95% bootstrap intervals over prompts. "
            "Lowest row: how long the added vector is, which is where models differ whose steering vectors do.",
            [
                PanelBlock(
                    perturbations if quantity is QUANTITIES[0] else [""] * len(perturbations),
                    "coefficient",
                    quantity.label,
                )
                for quantity in QUANTITIES
            ],
            [
                [
                    Line2D([], [], color=colors[False], label="aligned"),
                    Line2D([], [], color=colors[True], label="misaligned"),
                ]
            ],
            columns=max(len(perturbations), 1),
        )
        for quantity, panels in zip(QUANTITIES, axes, strict=True):
            for perturbation, ax in zip(perturbations, panels, strict=True):
                _panel(ax, rows[rows["perturbation"] == perturbation], quantity, colors)
            if not quantity.logarithmic:  # the panels of a row share their axis
                top = f"{quantity.column}_high" if f"{quantity.column}_high" in rows else quantity.column
                panels[0].set_ylim(0, 1.05 * rows[top].max())
        yield Sheet(f"poser_curves_{results.slug(family)}_{prompts}", figure, family)


def _panel(ax: Axes, rows: pd.DataFrame, quantity: Quantity, colors: dict[bool, str]) -> None:
    for (lm, misaligned), curve in rows.groupby(["lm", "misaligned"]):
        curve = curve.sort_values("coefficient")
        if quantity.logarithmic:
            curve = curve[curve["coefficient"] != 0]
        color, x = colors[bool(misaligned)], curve["coefficient"]
        y = curve[quantity.column].clip(lower=_SMALLEST) if quantity.logarithmic else curve[quantity.column]
        (drawn,) = ax.plot(x, y, color=color, lw=1.0)
        describe_points(drawn, [f"{lm}, coefficient {a:g}: {b:.3g}" for a, b in zip(x, y, strict=True)])
        if f"{quantity.column}_low" in curve:
            low, high = (curve[f"{quantity.column}_{end}"].clip(lower=_SMALLEST) for end in ("low", "high"))
            ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    if quantity.logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
