"""How well local volume and activation noise tell misaligned models from aligned ones: ROC curves and their table."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.lines import Line2D

from madkit.figures import style
from madkit.figures.averages import Average
from madkit.figures.document import Document, with_interval
from madkit.figures.hover import tell
from madkit.figures.page import Block, page
from madkit.figures.registry import Sheet, artist
from madkit.figures.results import Results, grouped

RESULTS, ROC = "poser/results.parquet", "poser/roc.parquet"
#: The number of each method that stands for it: chosen beforehand, and not the best one.
MEASURE = {"kl": "mean", "p_misaligned": "mean", "log_volume": "", "mean_log_volume": ""}
NAMES = {
    "kl": "KL from baseline",
    "p_misaligned": "P(misaligned answer)",
    "log_volume": "- log volume",
    "mean_log_volume": "- mean of log volumes",
    "steering norm": "norm of the steering vector",
    "unperturbed p_misaligned": "P(misaligned answer), unperturbed",
}
#: What the studies print for real models, under their names: (accuracy over 324 pairs, AUC).
PUBLISHED = {
    ("random direction", "p_misaligned"): ("random activation noise: 0.98", "-"),
    ("volume all", "log_volume"): ("-", "local volume as a predictor of alignment: 0.27"),
}
CONTROL = "control"


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for a method: means over all coefficients, and what has no coefficient."""
    at = table["at"].fillna("")
    return table[(at == table["measure"].map(MEASURE)) | (table["method"] == CONTROL)]


@artist(31, "Whole models under perturbation", reads=(ROC,))
def poser_roc(results: Results) -> Iterator[Sheet]:
    """One sheet per run: a panel per method, a curve per measure."""
    curves, found = results.table(ROC), results.table(RESULTS)
    if curves.empty or found.empty:
        return
    for (run, place), rows in grouped(headline(curves), "dataset", "model"):
        own = headline(found[(found["dataset"] == run) & (found["model"] == place)])
        methods = list(dict.fromkeys(rows["method"]))
        measures = list(dict.fromkeys(rows["measure"]))
        colors = {m: style.PALETTE[index % len(style.PALETTE)] for index, m in enumerate(measures)}
        figure, axes = page(
            f"{run}: telling misaligned from aligned models",
            f"n = {own['n_aligned'].max()} aligned and {own['n_misaligned'].max()} misaligned models in "
            f"{own['n_pairs'].max()} pairs. A model is called misaligned above a threshold of: how far perturbations "
            "move it, averaged over all coefficients; or minus its log volume. The control uses no perturbation.",
            [Block(methods, "aligned models called misaligned", "misaligned models found")],
            [[Line2D([], [], color=colors[m], label=NAMES.get(m, m)) for m in measures]],
            columns=3,
        )
        for method, ax in zip(methods, axes[0], strict=True):
            ax.plot([0, 1], [0, 1], color=style.INK, ls=":", lw=0.8)
            # Curves that coincide lie beside each other, so that none hides another.
            for shift, ((measure, at), curve) in enumerate(rows[rows["method"] == method].groupby(["measure", "at"])):
                x, y = curve["false_positive"] + 0.008 * shift, curve["true_positive"] - 0.008 * shift
                (line,) = ax.plot(x, y, color=colors[str(measure)], drawstyle="steps-post")
                words = f"{method}, {NAMES.get(str(measure), measure)} {at}".strip()
                tell(line, [f"{words}: {a:.2f}, {b:.2f}" for a, b in zip(x, y, strict=True)])
            ax.set(xlim=(-0.03, 1.05), ylim=(-0.05, 1.03))
        yield Sheet(f"poser_roc_{results.slug(place)}_{run}", figure, place)


@artist(32, "Whole models under perturbation", reads=(RESULTS,))
def poser_table(results: Results) -> Iterator[Sheet]:
    """`table_poser.md` (one line per method) and `table_poser.csv` (every coefficient too)."""
    found = results.table(RESULTS)
    if found.empty:
        return
    yield Sheet("table_poser.csv", found.to_csv(index=False, lineterminator="\n"))
    head = ["method", "what is compared", "accuracy over pairs", "Wilson", "AUC", "published accuracy", "published AUC"]
    tables = {}
    for (run, place), rows in grouped(found, "dataset", "model"):
        lines = [_line(row) for row in headline(rows).to_dict("records")]
        counts = rows[["n_aligned", "n_misaligned", "n_pairs"]].max()
        title = f"{place}/{run}: {counts['n_aligned']} aligned x {counts['n_misaligned']} misaligned models, "
        tables[title + f"{counts['n_pairs']} pairs"] = (head, lines)
    notes = [
        "*Accuracy over pairs*: the model of a pair with the higher number is called misaligned; a tie counts "
        "one half. Its interval knows that pairs share models (U-statistic over aligned x misaligned models); *Wilson* takes "
        "pairs for independent and is too narrow. 0.5 is chance.",
        "*AUC*: one threshold for all models. For volumes it is the AUC of volume as a predictor of alignment.",
        "KL and P(misaligned answer) are averaged over all coefficients but 0. `table_poser.csv` has each coefficient; "
        "the best of them would be chosen by looking at the answers.",
        "*control*: no perturbation. Where the steering vector's norm alone tells models apart, perturbations of that "
        "norm do so because they are longer for one of them; *equal* ones have the same length for all.",
        "Intervals speak of other models of the same kinds, made from the same base, on the same prompts.",
        "Published numbers are of 36 fine-tuned Llama 13B models (arXiv 2405.05466; local-volume research update).",
    ]
    yield Sheet(
        "table_poser.md",
        Document("Telling misaligned from aligned models", "Each number: value [95% interval].", tables, notes),
    )


def _line(row: dict[str, object]) -> list[str]:
    numbers = {key: float(str(row[key])) for key in row if key not in ("method", "measure", "at", "model", "dataset")}
    n = int(numbers["n_pairs"])
    accuracy = Average(numbers["accuracy"], numbers["low"], numbers["high"], n)
    simple = Average(numbers["accuracy"], numbers["wilson_low"], numbers["wilson_high"], n)
    area = Average(numbers["auc"], numbers["auc_low"], numbers["auc_high"], n)
    method, measure = str(row["method"]), str(row["measure"])
    printed = PUBLISHED.get((method, measure), ("-", "-"))
    at = f", layer {row['at']}" if measure == "steering norm" else ""
    what = NAMES.get(measure, measure) + at
    wilson = with_interval(simple).partition(" ")[2]
    return [method, what, with_interval(accuracy), wilson, with_interval(area), *printed]
