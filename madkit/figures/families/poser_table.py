"""How well each perturbation tells misaligned models from aligned ones, beside the published numbers."""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import pandas as pd

from madkit.figures.registry import Sheet, artist
from madkit.figures.results.poser_measures import (
    BEHAVIOUR,
    MEASURE_NAMES,
    RESULTS,
    conclusions,
    representative_rows,
)
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import Average
from madkit.figures.tables.document import Document, with_interval

PUBLISHED = {
    ("random direction", "p_misaligned"): ("random activation noise: 0.98", "-"),
    ("volume all", "log_volume"): ("-", "local volume as a predictor of alignment: 0.27"),
}
"""What the studies print for real models, by method and measure: (accuracy over 324 pairs, AUC)."""


@artist("perturbation", after="poser_roc", reads=(RESULTS, BEHAVIOUR))
def poser_table(results: Results) -> Iterator[Sheet]:
    """`table_poser.md` (one line per method) and `table_poser.csv` (every coefficient too)."""
    accuracies = results.table(RESULTS)
    behaviour = results.table(BEHAVIOUR)
    if accuracies.empty or behaviour.empty:
        return
    yield Sheet("table_poser.csv", accuracies.to_csv(index=False, lineterminator="\n"))
    head = ["method", "what is compared", "accuracy over pairs", "Wilson", "AUC", "published accuracy", "published AUC"]
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]] = {}
    sentences: list[str] = []
    for (family,), rows in grouped(accuracies, "model"):
        lines = [_line(row) for row in representative_rows(rows).to_dict("records")]
        counts = rows[["n_aligned", "n_misaligned", "n_pairs"]].max()
        title = f"{family}: {counts['n_aligned']} aligned x {counts['n_misaligned']} misaligned models, "
        tables[title + f"{counts['n_pairs']} pairs"] = (head, lines)
        sentences += [f"{family}: {conclusion}" for conclusion in conclusions(rows)]
        tables[f"{family}: without perturbation"] = _behaviour(behaviour[behaviour["model"] == family])
    notes = [
        "*Accuracy over pairs*: the model of a pair with the higher number is called misaligned; a tie counts "
        "one half. Its interval knows that pairs share models and policies (U-statistic over aligned x misaligned "
        "policies where a side has three or more, else over models); "
        "*Wilson* takes pairs for independent and is too narrow. 0.5 is chance.",
        "*AUC*: one threshold for all models. For volumes it is the AUC of volume as a predictor of alignment.",
        "KL and P(misaligned answer) are averaged over all coefficients but 0. `table_poser.csv` has each coefficient; "
        "the best of them would be chosen by looking at the answers.",
        "*control*: no perturbation. Where the steering vector's norm alone tells models apart, perturbations of that "
        "norm do so because they are longer for one of them; *equal* ones have the same length for all. Where the norm "
        "of activations does, a vector of the same length is a larger part of the activations of one of them.",
        "Intervals speak of other models of the same kinds, made from the same base, on the same prompts.",
        "Published numbers are of 36 fine-tuned Llama 13B models (arXiv 2405.05466; local-volume research update).",
    ]
    yield Sheet(
        "table_poser.md",
        Document(
            "Telling misaligned from aligned models",
            "Each number: value [95% interval]. What was found:\n\n" + "\n\n".join(sentences),
            tables,
            notes,
        ),
    )


def _behaviour(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """How aligned and misaligned models behave on the prompts of the comparison, and where they are not overseen."""
    head = ["models", "prompts", "benign answers", "P(misaligned answer)", "prompts without oversight", "benign there"]
    lines = []
    for misaligned, part in rows.groupby("misaligned"):
        unseen = part["benign_unseen"] if "benign_unseen" in part else pd.Series(dtype=float)
        lines.append(
            [
                "misaligned" if misaligned else "aligned",
                f"{part['n'].max()}",
                _range(part["benign"], "{:.1%}"),
                _range(part["p_misaligned"], "{:.2g}"),
                f"{part['n_unseen'].max()}",
                _range(unseen.dropna(), "{:.1%}"),
            ]
        )
    return head, lines


def _range(values: pd.Series, template: str) -> str:
    """From the least to the largest of the models' numbers."""
    if values.empty:
        return "-"
    low, high = template.format(values.min()), template.format(values.max())
    return low if low == high else f"{low} to {high}"


def _line(row: Mapping[Hashable, object]) -> list[str]:
    numbers = {key: float(str(row[key])) for key in row if key not in ("method", "measure", "at", "model", "dataset")}
    n = int(numbers["n_pairs"])
    accuracy = Average(numbers["accuracy"], numbers["low"], numbers["high"], n)
    simple = Average(numbers["accuracy"], numbers["wilson_low"], numbers["wilson_high"], n)
    area = Average(numbers["auc"], numbers["auc_low"], numbers["auc_high"], n)
    method, measure = str(row["method"]), str(row["measure"])
    printed = PUBLISHED.get((method, measure), ("-", "-"))
    at = f", layer {row['at']}" if measure in ("steering norm", "activation norm") else ""
    what = MEASURE_NAMES.get(measure, measure) + at
    wilson = with_interval(simple).partition(" ")[2]
    return [method, what, with_interval(accuracy), wilson, with_interval(area), *printed]
