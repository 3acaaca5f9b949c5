"""Does a detector find how the model works, or what it answers? Every detector's AUROC within answers."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import detector_name, setting_order, with_control
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.tables.answers import differing
from madkit.figures.tables.document import Document

_FROM = {"log_odds": "model", "label": "label", "": "unknown"}


@artist("comparison")
def within_answers(results: Results) -> Iterator[Sheet]:
    """`table_within_answers.csv` (every subset) and `.md` (all prompts): AUROC over all pairs and over those alike."""
    rows = results.aggregated(own_answer=True)
    if rows.empty:
        return
    keys = ["model", "dataset", "feature", "control", "score", "setting", "subset", "sign", "auroc", "low", "high"]
    about = ("auroc_within", "within_", "n_answers")
    keys += [name for name in map(str, rows.columns) if name.startswith(about)] + ["answers_from"]
    rows = rows.assign(order=rows["setting"].map(setting_order)).sort_values(
        ["model", "order", "control", "auroc"], ascending=[True] * 3 + [False]
    )
    yield Sheet("table_within_answers.csv", rows[keys].to_csv(index=False, lineterminator="\n"))
    head = ["detector", "setting", "dataset", "AUROC", "within answers", "difference", "pairs", "left out", "answers"]
    tables = {}
    for (model,), part in grouped(rows[rows["subset"] == "all"], "model"):
        position = {dataset: index for index, dataset in enumerate(ordered_datasets(part["dataset"]))}
        part = part.sort_values("dataset", key=lambda names: names.map(position), kind="stable")
        marked = zip(part.iterrows(), differing(part), strict=True)
        tables[model] = (head, [_cells(row, bold) for (_, row), bold in marked])
    notes = [
        "*Within answers*: over pairs of a normal and an anomalous prompt to which the model gives the same answer "
        "(the sign of its log odds). What a detector sees of the answer itself does not count there.",
        "*Difference*: from the AUROC over all pairs, with its 95% interval, which knows what prompts share; **bold** "
        "where it leaves out 0. Where a detector is not about the answer, that happens to 1 in 20.",
        "*Pairs*: the share of all pairs that were answered alike. *Left out*: answers that only one of the characters "
        "gets, which say nothing here. *Answers*: the model's, or where they are not stored, the label's.",
        "*Own answer*: the answer alone as a score, the model's log odds or the label. Whether Yes or No is more "
        "anomalous is chosen by the labels of each dataset and subset, so it is at least 0.5, and a little above where "
        "the answer tells nothing.",
    ]
    title = "Within answers: what detectors find beyond what the model says"
    yield Sheet("table_within_answers.md", Document(title, "All test prompts, mean over layers.", tables, notes))


def _cells(row: pd.Series, bold: bool) -> list[str]:
    difference = _interval(row, "within_difference", "within_difference_low", "within_difference_high", "+.3f")
    return [
        with_control(detector_name(row["feature"], row["score"]), row["control"]),
        str(row["setting"]),
        str(row["dataset"]),
        _interval(row, "auroc", "low", "high"),
        _interval(row, "auroc_within", "auroc_within_low", "auroc_within_high"),
        f"**{difference}**" if bold else difference,
        f"{row['within_share']:.0%}",
        str(row["n_answers_left_out"]),
        _FROM.get(row["answers_from"], str(row["answers_from"])),
    ]


def _interval(row: pd.Series, value: str, low: str, high: str, form: str = ".3f") -> str:
    if pd.isna(row[value]):
        return "-"
    return f"{row[value]:{form}} [{row[low]:{form}}, {row[high]:{form}}]"
