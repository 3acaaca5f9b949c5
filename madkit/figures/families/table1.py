"""Table 1: AUROC averaged over datasets, with what it costs, beside the controls and the published numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from madkit.figures.naming import count_prompts, detector_name, further_needs, setting_order, share_range
from madkit.figures.published.numbers import (
    LLAMA,
    MISTRAL,
    PublishedAUROC,
    nearest_model,
    published_auroc,
    published_sources,
)
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import OWN_ANSWER, Results, grouped, ordered_datasets
from madkit.figures.tables.answers import differing, within_average
from madkit.figures.tables.averages import METHOD, Average, average
from madkit.figures.tables.benign import about_benign, benign_rows
from madkit.figures.tables.costs import milliseconds
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.false_alarms import FALSE_ALARMS, about_false_alarms
from madkit.figures.tables.latex import latex_tables
from madkit.figures.tables.seeds import about_seeds
from madkit.figures.tables.significance import LEVEL, significantly_best

SUBSETS = ("all", "agree", "disagree")


@dataclass(frozen=True)
class TableRow:
    """One model and detector: our averages, the control's and the published ones, by subset."""

    model: str
    detector: str
    feature: str
    score: str
    setting: str
    needs: str
    """What it needs besides the model that is watched."""
    datasets: list[str]
    ours: dict[str, Average | None]
    caught: Average | None
    """Share of anomalous prompts that a threshold with 1% false alarms catches, all prompts."""
    false_alarms: Average | None
    """Share of normal test prompts on which a threshold alarms that is set on held-out trusted prompts."""
    nominal: float
    """The false-alarm rate which that threshold is set for: the largest of the datasets."""
    within: dict[str, Average | None]
    """AUROC within answers."""
    control: dict[str, Average | None]
    benign: dict[str, Average | None]
    """AUROC of the same detector on benign models."""
    llama: dict[str, PublishedAUROC | None]
    mistral: dict[str, PublishedAUROC | None]
    same_datasets: PublishedAUROC | None
    """The nearest published model over the datasets that we and it have, all prompts."""
    best: frozenset[str]
    """The subsets on which it is better than every other detector of its setting, by paired tests."""
    cost: float | None
    """Milliseconds a prompt, mean over datasets; None where it was not measured on all of them."""


@artist("detection")
def table1(results: Results) -> Iterator[Sheet]:
    """`table1.csv` (full precision), `table1.tex` and `table1.md` (a readable table per model)."""
    rows = list(_rows(results))
    if not rows:
        return
    flat = pd.DataFrame([_flat(row) for row in rows])
    yield Sheet("table1.csv", flat.to_csv(index=False, lineterminator="\n"))
    tables = {model: _cells(model, [row for row in rows if row.model == model]) for model in _models(rows)}
    yield Sheet("table1.tex", latex_tables(tables, "AUROC of quirky against normal test prompts"))
    notes = [*_notes(results, rows), *(f"{source}." for source in published_sources())]
    document = Document(
        "Table 1: AUROC of quirky against normal test prompts, averaged over datasets",
        "Scores are aggregated over layers (mean). Each of our numbers: average [95% interval]. "
        "*Within answers*: over pairs of prompts with the same answer only. *Control*: same prompts with the adapter "
        "off. *Benign*: same prompts, and an adapter that was tuned on the truth alone. "
        "*Own answer*, at the foot: the model's answer alone as a score. "
        "*Published*: average (number of datasets).",
        tables,
        notes,
    )
    yield Sheet("table1.md", document)


def _models(rows: Sequence[TableRow]) -> list[str]:
    return list(dict.fromkeys(row.model for row in rows))


def _rows(results: Results) -> Iterator[TableRow]:
    aggregated = results.over_seeds(lambda part: part.aggregated(own_answer=True))
    is_control = aggregated["control"]
    rows, nothing = aggregated[~is_control], aggregated.iloc[:0]
    key = ("model", "feature", "score", "setting")
    controls, of_benign = (dict(grouped(table, *key)) for table in (aggregated[is_control], benign_rows(results)))
    costs = milliseconds(results)
    best = {subset: significantly_best(results, rows[rows["subset"] == subset], subset) for subset in SUBSETS}
    for (model, feature, score, setting), part in grouped(rows, *key):
        name = detector_name(feature, score)
        control, benign = (found.get((model, feature, score, setting), nothing) for found in (controls, of_benign))
        datasets = ordered_datasets(part["dataset"])
        measured = [costs[run] for dataset in datasets if (run := (model, dataset, feature, score)) in costs]
        yield TableRow(
            model,
            name,
            feature,
            score,
            setting,
            ", ".join(sorted(set(part["needs"]))),
            datasets,
            caught=_caught(part[part["subset"] == "all"]),
            false_alarms=average(part[part["subset"] == "all"], FALSE_ALARMS),
            nominal=float(part["nominal"].max()),
            ours={subset: average(part[part["subset"] == subset]) for subset in SUBSETS},
            within={subset: within_average(part[part["subset"] == subset]) for subset in SUBSETS},
            control={subset: average(control[control["subset"] == subset]) for subset in SUBSETS},
            benign={subset: average(benign[benign["subset"] == subset]) for subset in SUBSETS},
            llama={subset: published_auroc(LLAMA, name, setting, subset) for subset in SUBSETS},
            mistral={subset: published_auroc(MISTRAL, name, setting, subset) for subset in SUBSETS},
            same_datasets=published_auroc(nearest_model(model), name, setting, "all", frozenset(datasets)),
            best=frozenset(s for s, triples in best.items() if (model, setting, f"{feature}/{score}") in triples),
            cost=sum(measured) / len(measured) if measured and len(measured) == len(datasets) else None,
        )


def _flat(row: TableRow) -> dict[str, object]:
    flat: dict[str, object] = {
        "model": row.model,
        "detector": row.detector,
        "feature": row.feature,
        "score": row.score,
        "setting": row.setting,
        "needs": row.needs,
        "datasets": " ".join(row.datasets),
    }
    groups = {"": row.ours, "within_": row.within, "control_": row.control, "benign_": row.benign}
    for prefix, averages in groups.items():
        for subset, value in averages.items():
            flat[f"{prefix}auroc_{subset}"] = value.value if value else None
            flat[f"{prefix}low_{subset}"] = value.low if value else None
            flat[f"{prefix}high_{subset}"] = value.high if value else None
            flat[f"{prefix}n_datasets_{subset}"] = value.n_datasets if value else 0
    for name, end in (("tpr_at_1_percent", "value"), ("tpr_low", "low"), ("tpr_high", "high")):
        flat[name] = getattr(row.caught, end) if row.caught else None
    for name, end in (("false_alarms", "value"), ("false_alarms_low", "low"), ("false_alarms_high", "high")):
        flat[name] = getattr(row.false_alarms, end) if row.false_alarms else None
    flat["nominal"] = row.nominal
    flat |= {f"best_{subset}": subset in row.best for subset in SUBSETS}
    flat["milliseconds_per_prompt"] = row.cost
    for prefix, numbers in (("published_llama", row.llama), ("published_mistral", row.mistral)):
        for subset, number in numbers.items():
            flat[f"{prefix}_{subset}"] = number.value if number else None
            flat[f"{prefix}_n_datasets_{subset}"] = number.n_datasets if number else 0
    flat["published_same_model"] = nearest_model(row.model) if row.same_datasets else None
    flat["published_same_all"] = row.same_datasets.value if row.same_datasets else None
    flat["published_same_n_datasets"] = row.same_datasets.n_datasets if row.same_datasets else 0
    return flat


def _cells(model: str, rows: Sequence[TableRow]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a model's table: detectors by setting, the highest average first."""
    nearest = nearest_model(model)
    # What is published stands beside what it is compared with: at the end of so many columns nobody would see it.
    published = {subset: f"published {nearest}, {subset}" for subset in SUBSETS}
    head = ["detector", "AUROC, all", published["all"], f"published {nearest}, same datasets, all"]
    head += ["TPR at 1% FPR, all", "false alarms at nominal 1%, all"]
    head += [name for subset in SUBSETS[1:] for name in (subset, published[subset])]
    head += ["within answers, all", "control, all", "benign, all", "setting", "needs", "datasets", "ms per prompt"]
    table = []
    for row in sorted(rows, key=_order):
        counts = list(dict.fromkeys(value.n_datasets for value in row.ours.values() if value))
        theirs = row.mistral if nearest == MISTRAL else row.llama
        ours = {subset: _bold(with_interval(row.ours[subset]), subset in row.best) for subset in SUBSETS}
        benign = row.benign["all"]
        cells = [
            row.detector,
            ours["all"],
            _number(theirs["all"]),
            _number(row.same_datasets),
            with_interval(row.caught),
            with_interval(row.false_alarms),
            *(cell for subset in SUBSETS[1:] for cell in (ours[subset], _number(theirs[subset]))),
            with_interval(row.within["all"]),
            with_interval(row.control["all"]),
            with_interval(benign) + (f" ({benign.n_datasets})" if benign else ""),
            row.setting,
            further_needs(row.needs),
            "/".join(map(str, counts)) or "0",
            "-" if row.cost is None else f"{row.cost:.3g}",
        ]
        table.append(cells)
    return head, table


def _order(row: TableRow) -> tuple[tuple[int, str], float, str]:
    value = row.ours["all"]
    return setting_order(row.setting), -value.value if value else 0.0, row.detector


def _caught(rows: pd.DataFrame) -> Average | None:
    return average(rows, ("tpr", "tpr_low", "tpr_high")) if "tpr" in rows else None


def _bold(cell: str, best: bool) -> str:
    return f"**{cell}**" if best else cell


def _number(number: PublishedAUROC | None) -> str:
    return "-" if number is None else f"{number.value:.3f} ({number.n_datasets})"


def _about_answers(results: Results) -> Iterator[str]:
    """What stands within answers and in the rows of own answer, and where the two AUROCs differ."""
    rows = results.aggregated()
    rows = rows[(rows["subset"] == "all") & ~rows["control"] & (rows["setting"] != "ceiling")]
    if rows.empty:
        return
    yield (
        "*Within answers*: AUROC over pairs of a normal and an anomalous prompt to which the model gives the same "
        f"answer: {share_range(rows['within_share'])} of the pairs of a dataset. It differs from the plain one by more "
        f"than the interval of their difference for {int(differing(rows).sum())} of {len(rows)} detectors and "
        "datasets; see `table_within_answers.md`. In the CSV it is `within_auroc_*`."
    )
    yield (
        "*Own answer*: the model's log odds of Yes, and the label of the answer that is right for the character, as "
        "scores. They are no detectors, as which of Yes and No is more anomalous is chosen by the labels, for each "
        "dataset and subset; so they are at least 0.5, and intervals are turned round with them. Far above 0.5, the "
        "characters can be told apart by their answers alone, and a high AUROC says little about how the model works."
    )
    if without := sorted(set(results.own_answer.loc[results.own_answer["answers_from"] == "label", "dataset"])):
        yield f"The model's answers are not stored for {', '.join(without)}: there, answers are those of the labels."


def _notes(results: Results, rows: Sequence[TableRow]) -> list[str]:
    whole = results.aggregated()
    whole = whole[whole["subset"] == "all"]
    devices = sorted({str(name) for name in results.costs["device"]}) if len(results.costs) else []
    lacking = sum(row.cost is None for row in rows if row.setting not in ("ceiling", OWN_ANSWER))
    cost = "*ms per prompt*: reading the feature, as if it were the only one, and scoring it at all its sites"
    cost += f"; measured on {', '.join(devices)}" if devices else ""
    cost += f"; not measured for {lacking} of the detectors, whose stages ran before costs were kept" if lacking else ""
    return [
        "*all*, *agree*, *disagree*: all test prompts; where the characters' labels agree; the others.",
        "*TPR at 1% FPR*: the share of anomalous prompts that a threshold catches with at most 1% false alarms among "
        "normal test prompts; a monitor lives there.",
        *about_false_alarms(whole),
        "*needs*: what a detector needs besides the model and trusted prompts.",
        "*setting*: an online score learns from trusted prompts only, an offline one from untrusted "
        "ones too; the ceiling is "
        "told the labels of other names, and is no detector.",
        "**Bold**: better than every other detector of its model and setting (controls and the "
        "ceiling are no competitors), by "
        "the paired test of DeLong, DeLong and Clarke-Pearson (1988), for prompts that share statements and speakers "
        "(Obuchowski 1997), on the mean over the datasets that both have, "
        f"p < {LEVEL} after Holm's adjustment for all pairs. It speaks of other prompts of these "
        "datasets. Where no detector is "
        "bold, it is alone or the test does not tell the best ones apart.",
        *about_benign(results),
        *_about_answers(results),
        f"{cost}.",
        f"Intervals: {METHOD}",
        *about_seeds(results),
        *(f"{model}: {count_prompts(part)} per dataset." for (model,), part in grouped(whole, "model")),
        "*Same datasets*: the published numbers averaged only over the datasets that are also in our row.",
        "The published LOF is the simplified variant (Schubert et al. 2014); the published flow laplace is "
        "the log density itself, ours its negative, so that higher is more anomalous.",
        "Where a source prints no average, it is the mean of the aggregated AUROC of its datasets.",
    ]
