"""How many prompts each model answers well under noise on its weights."""

from collections.abc import Iterator

from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped

FILE = "poser/noise.parquet"


@artist("perturbation", after="poser_curves", reads=(FILE,))
def poser_noise(results: Results) -> Iterator[Sheet]:
    """One sheet per family and set of prompts: accuracy against the size of the noise, a line per model."""
    table = results.table(FILE)
    if table.empty:
        return
    colors = {False: style.PALETTE[0], True: style.PALETTE[1]}
    labels = {False: "aligned: it does what it can", True: "misaligned: it holds back"}
    for (family, prompts), rows in grouped(table, "model", "prompts"):
        names = list(dict.fromkeys(rows["noise"]))
        figure, axes = panel_page(
            f"{family}: models under noise on their weights ({prompts} prompts)",
            f"A line per model: share of {int(rows['n'].max())} prompts that are answered by the benign action; bands: "
            "95% bootstrap intervals over prompts. Noise makes a model that does its best worse; one that holds back "
            "may gain (Tice et al., arXiv 2412.01784).",
            [PanelBlock(names, "standard deviation of the noise / root mean square of the weights", "accuracy")],
            [[Line2D([], [], color=colors[kind], label=labels[kind]) for kind in (False, True)]],
            columns=max(len(names), 1),
        )
        for name, ax in zip(names, axes[0], strict=True):
            for (lm, misaligned), curve in rows[rows["noise"] == name].groupby(["lm", "misaligned"]):
                curve = curve.sort_values("size")
                color, x, y = colors[bool(misaligned)], curve["size"], curve["accuracy"]
                (drawn,) = ax.plot(x, y, color=color, lw=1.0)
                describe_points(drawn, [f"{lm}, noise {a:g}: {b:.3f}" for a, b in zip(x, y, strict=True)])
                ax.fill_between(x, curve["accuracy_low"], curve["accuracy_high"], color=color, alpha=0.15, lw=0)
            ax.axhline(0.5, color=style.INK, ls=":", lw=0.8)
            ax.set_ylim(0, 1.03)
        yield Sheet(f"poser_noise_{results.slug(family)}_{prompts}", figure, family)
