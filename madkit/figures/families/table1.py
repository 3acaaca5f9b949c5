"""Table 1: AUROC averaged over datasets, beside the control and the published numbers."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from madkit.figures.averages import METHOD, Average, average
from madkit.figures.document import markdown_table, with_interval
from madkit.figures.naming import CONTROL, detector_name, with_setting
from madkit.figures.published import LLAMA, MISTRAL, Published, published, sources
from madkit.figures.registry import Sheet, artist
from madkit.figures.results import Results, grouped, in_order

SUBSETS = ("all", "agree", "disagree")


@dataclass(frozen=True)
class Row:
    """One model and detector: our averages, the control's and the published ones, by subset."""

    model: str
    detector: str
    feature: str
    score: str
    setting: str
    datasets: list[str]
    ours: dict[str, Average | None]
    control: dict[str, Average | None]
    llama: dict[str, Published | None]
    mistral: dict[str, Published | None]
    same: Published | None
    """The nearest published model over the datasets that we and it have, all prompts."""


@artist(99, "How well detectors do")
def table(results: Results) -> Iterator[Sheet]:
    """`table1.csv` (full precision) and `table1.md` (a readable table per model)."""
    rows = list(_rows(results))
    if not rows:
        return
    buffer = io.StringIO()
    pd.DataFrame([_flat(row) for row in rows]).to_csv(buffer, index=False, lineterminator="\n")
    yield Sheet("table1.csv", buffer.getvalue())
    yield Sheet("table1.md", _markdown(rows))


def _rows(results: Results) -> Iterator[Row]:
    whole = results.aggregate()
    own = whole[~whole["feature"].str.startswith(CONTROL)]
    for (model, feature, score, setting), part in grouped(own, "model", "feature", "score", "setting"):
        name = detector_name(feature, score)
        control = whole[
            (whole["model"] == model)
            & (whole["feature"] == CONTROL + feature)
            & (whole["score"] == score)
            & (whole["setting"] == setting)
        ]
        yield Row(
            model,
            name,
            feature,
            score,
            setting,
            in_order(part["dataset"]),
            ours={subset: average(part[part["subset"] == subset]) for subset in SUBSETS},
            control={subset: average(control[control["subset"] == subset]) for subset in SUBSETS},
            llama={subset: published(LLAMA, name, setting, subset) for subset in SUBSETS},
            mistral={subset: published(MISTRAL, name, setting, subset) for subset in SUBSETS},
            same=published(_nearest(model), name, setting, "all", frozenset(part["dataset"])),
        )


def _nearest(model: str) -> str:
    """The published model of the same family; Llama stands for the families that were not published."""
    return MISTRAL if "mistral" in model.lower() else LLAMA


def _flat(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {
        "model": row.model,
        "detector": row.detector,
        "feature": row.feature,
        "score": row.score,
        "setting": row.setting,
        "datasets": " ".join(row.datasets),
    }
    for prefix, averages in (("", row.ours), ("control_", row.control)):
        for subset, value in averages.items():
            flat[f"{prefix}auroc_{subset}"] = value.value if value else None
            flat[f"{prefix}low_{subset}"] = value.low if value else None
            flat[f"{prefix}high_{subset}"] = value.high if value else None
            flat[f"{prefix}n_datasets_{subset}"] = value.n_datasets if value else 0
    for prefix, numbers in (("published_llama", row.llama), ("published_mistral", row.mistral)):
        for subset, number in numbers.items():
            flat[f"{prefix}_{subset}"] = number.value if number else None
            flat[f"{prefix}_n_datasets_{subset}"] = number.n_datasets if number else 0
    flat["published_same_model"] = _nearest(row.model) if row.same else None
    flat["published_same_all"] = row.same.value if row.same else None
    flat["published_same_n_datasets"] = row.same.n_datasets if row.same else 0
    return flat


def _markdown(rows: Sequence[Row]) -> str:
    lines = [
        "# Table 1: AUROC of quirky against normal test prompts, averaged over datasets",
        "",
        "Scores are aggregated over layers (mean). Each of our numbers: average [95% interval]. "
        "*Control*: same prompts with the adapter off. *Published*: average (number of datasets).",
    ]
    for model, group in groupby(rows, key=lambda row: row.model):
        lines += ["", f"## {model}", "", *_model_table(model, list(group))]
    lines += ["", "## How the numbers are made", "", f"- Intervals: {METHOD}"]
    lines += [
        "- *all*, *agree*, *disagree*: all test prompts; where the characters' labels agree; the others.",
        "- *Same datasets*: the published numbers averaged only over the datasets that are also in our row.",
        *(f"- {source}." for source in sources()),
        "- The published LOF is the simplified variant (Schubert et al. 2014); the published flow laplace is "
        "the log density itself, ours its negative, so that higher is more anomalous.",
        "- Where a source prints no average, it is the mean of the aggregated AUROC of its datasets.",
        "",
    ]
    return "\n".join(lines)


def _model_table(model: str, rows: Sequence[Row]) -> list[str]:
    nearest = _nearest(model)
    head = ["detector", "datasets", *SUBSETS, *(f"control, {subset}" for subset in SUBSETS)]
    head += [f"{LLAMA}, {subset}" for subset in SUBSETS]
    if nearest == MISTRAL:
        head += [f"{MISTRAL}, {subset}" for subset in SUBSETS]
    head.append(f"{nearest}, same datasets, all")
    table = []
    for row in rows:
        counts = list(dict.fromkeys(value.n_datasets for value in row.ours.values() if value))
        cells = [
            with_setting(row.detector, row.setting),
            "/".join(map(str, counts)) or "0",
            *(with_interval(row.ours[subset]) for subset in SUBSETS),
            *(with_interval(row.control[subset]) for subset in SUBSETS),
            *(_number(row.llama[subset]) for subset in SUBSETS),
        ]
        if nearest == MISTRAL:
            cells += [_number(row.mistral[subset]) for subset in SUBSETS]
        table.append([*cells, _number(row.same)])
    return markdown_table(head, table)


def _number(number: Published | None) -> str:
    return "-" if number is None else f"{number.value:.3f} ({number.n_datasets})"
