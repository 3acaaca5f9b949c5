"""Table 1: AUROC averaged over datasets, with what it costs, beside the control and the published numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from madkit.figures.naming import CONTROL, detector_name, setting_place
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.published import LLAMA, MISTRAL, Published, published, sources
from madkit.figures.results.results import Results, grouped, in_order
from madkit.figures.tables.averages import METHOD, Average, average
from madkit.figures.tables.costs import milliseconds
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.latex import latex_tables
from madkit.figures.tables.significance import LEVEL, leaders

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
    best: frozenset[str]
    """The subsets on which it is better than every other detector of its setting, by paired tests."""
    cost: float | None
    """Milliseconds a prompt, mean over datasets; None where it was not measured on all of them."""


@artist(99, "How well detectors do")
def table(results: Results) -> Iterator[Sheet]:
    """`table1.csv` (full precision), `table1.tex` and `table1.md` (a readable table per model)."""
    rows = list(_rows(results))
    if not rows:
        return
    flat = pd.DataFrame([_flat(row) for row in rows])
    yield Sheet("table1.csv", flat.to_csv(index=False, lineterminator="\n"))
    tables = {model: _cells(model, [row for row in rows if row.model == model]) for model in _models(rows)}
    yield Sheet("table1.tex", latex_tables(tables, "AUROC of quirky against normal test prompts"))
    notes = [*_notes(results, rows), *(f"{source}." for source in sources())]
    document = Document(
        "Table 1: AUROC of quirky against normal test prompts, averaged over datasets",
        "Scores are aggregated over layers (mean). Each of our numbers: average [95% interval]. "
        "*Control*: same prompts with the adapter off. *Published*: average (number of datasets).",
        tables,
        notes,
    )
    yield Sheet("table1.md", document)


def _models(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.model for row in rows))


def _rows(results: Results) -> Iterator[Row]:
    whole = results.aggregate()
    own = whole[~whole["feature"].str.startswith(CONTROL)]
    costs = milliseconds(results)
    winners = {subset: leaders(results, own[own["subset"] == subset], subset) for subset in SUBSETS}
    for (model, feature, score, setting), part in grouped(own, "model", "feature", "score", "setting"):
        name = detector_name(feature, score)
        control = whole[
            (whole["model"] == model)
            & (whole["feature"] == CONTROL + feature)
            & (whole["score"] == score)
            & (whole["setting"] == setting)
        ]
        measured = [costs.get((model, dataset, feature, score)) for dataset in set(part["dataset"])]
        known = [value for value in measured if value is not None]
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
            best=frozenset(s for s, found in winners.items() if (model, setting, f"{feature}/{score}") in found),
            cost=sum(known) / len(known) if known and len(known) == len(measured) else None,
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
    flat |= {f"best_{subset}": subset in row.best for subset in SUBSETS}
    flat["milliseconds_per_prompt"] = row.cost
    for prefix, numbers in (("published_llama", row.llama), ("published_mistral", row.mistral)):
        for subset, number in numbers.items():
            flat[f"{prefix}_{subset}"] = number.value if number else None
            flat[f"{prefix}_n_datasets_{subset}"] = number.n_datasets if number else 0
    flat["published_same_model"] = _nearest(row.model) if row.same else None
    flat["published_same_all"] = row.same.value if row.same else None
    flat["published_same_n_datasets"] = row.same.n_datasets if row.same else 0
    return flat


def _cells(model: str, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a model's table: detectors by setting, the highest average first."""
    nearest = _nearest(model)
    head = ["detector", "setting", "datasets", *SUBSETS, "control, all", "ms per prompt"]
    head += [f"published {nearest}, {subset}" for subset in SUBSETS] + [f"published {nearest}, same datasets, all"]
    table = []
    for row in sorted(rows, key=_order):
        counts = list(dict.fromkeys(value.n_datasets for value in row.ours.values() if value))
        theirs = row.mistral if nearest == MISTRAL else row.llama
        cells = [
            row.detector,
            row.setting,
            "/".join(map(str, counts)) or "0",
            *(_bold(with_interval(row.ours[subset]), subset in row.best) for subset in SUBSETS),
            with_interval(row.control["all"]),
            "-" if row.cost is None else f"{row.cost:.3g}",
            *(_number(theirs[subset]) for subset in SUBSETS),
            _number(row.same),
        ]
        table.append(cells)
    return head, table


def _order(row: Row) -> tuple[tuple[int, str], float, str]:
    value = row.ours["all"]
    return setting_place(row.setting), -value.value if value else 0.0, row.detector


def _bold(cell: str, best: bool) -> str:
    return f"**{cell}**" if best else cell


def _number(number: Published | None) -> str:
    return "-" if number is None else f"{number.value:.3f} ({number.n_datasets})"


def _notes(results: Results, rows: Sequence[Row]) -> list[str]:
    devices = sorted({str(name) for name in results.costs["device"]}) if len(results.costs) else []
    lacking = sum(row.cost is None for row in rows if row.setting != "ceiling")
    cost = "*ms per prompt*: reading the feature, as if it were the only one, and scoring it at all its sites"
    cost += f"; measured on {', '.join(devices)}" if devices else ""
    cost += f"; not measured for {lacking} of the detectors, whose stages ran before costs were kept" if lacking else ""
    return [
        "*all*, *agree*, *disagree*: all test prompts; where the characters' labels agree; the others.",
        "*setting*: an online score learns from trusted prompts only, an offline one from untrusted "
        "ones too; the ceiling is "
        "told the labels of other names, and is no detector.",
        "**Bold**: better than every other detector of its model and setting (controls and the "
        "ceiling are no competitors), by "
        "the paired test of DeLong, DeLong and Clarke-Pearson (1988) on the mean over the datasets that both have, "
        f"p < {LEVEL} after Holm's adjustment for all pairs. It speaks of other prompts of these "
        "datasets. Where no detector is "
        "bold, it is alone or the test does not tell the best ones apart.",
        f"{cost}.",
        f"Intervals: {METHOD}",
        "*Same datasets*: the published numbers averaged only over the datasets that are also in our row.",
        "The published LOF is the simplified variant (Schubert et al. 2014); the published flow laplace is "
        "the log density itself, ours its negative, so that higher is more anomalous.",
        "Where a source prints no average, it is the mean of the aggregated AUROC of its datasets.",
    ]
