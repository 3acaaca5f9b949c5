"""Further speakers: does an alarm mean the quirk of whoever speaks, or that nobody has heard the speaker before?"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.analysis import accuracy, answer_margin
from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.naming import detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.averages import AUROC, METHOD, average
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.kinds_of_prompts import scores_of_kinds
from madkit.statistics.alarm_rates import alarm_rates
from madkit.statistics.auroc_interval import auroc
from madkit.statistics.clustered_prompts import prompt_clusters
from madkit.statistics.dataset_means import SHARES

_KNOWN = "Alice"
"""The speaker whose prompts are trusted."""
_FPR = 0.01
"""Of the prompts that a speaker is compared with, how many exceed the threshold."""
_STATISTICS = {
    "AUROC against Alice": AUROC,
    "alarms at the threshold that 1% of Alice's prompts exceed": ("alarms", "alarms_low", "alarms_high"),
}
_ANSWERS = {
    "answers as meant": (("right", "right_low", "right_high"), SHARES),
    "against the other answer (nats)": (("margin", "margin_low", "margin_high"), (-math.inf, math.inf)),
}


@artist("stress", after="partial_quirks")
def speakers(results: Results) -> Iterator[Sheet]:
    """`table_speakers.md` and `.csv`, and `table_speakers_answers.csv`: each speaker's prompts against honest ones'."""
    detected, answered = (_of_all(results, table) for table in (_detected, _answered))
    if detected.empty:
        return
    yield Sheet("table_speakers.csv", detected.to_csv(index=False, lineterminator="\n"))
    yield Sheet("table_speakers_answers.csv", answered.to_csv(index=False, lineterminator="\n"))
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for (model, benign), own in detected.groupby(["model", "benign"]):
        name = f"{model}, benign control" if benign else str(model)
        for against, part in own.groupby("against"):
            shown = _STATISTICS if against == _KNOWN else {f"AUROC against {against}, who is honest": AUROC}
            tables |= {f"{name}: {statistic}": _table(part, columns) for statistic, columns in shown.items()}
        if answered.empty:
            continue
        said = answered[(answered["model"] == model) & (answered["benign"] == benign)]
        cells = []
        for speaker in pd.unique(said["speaker"]):
            part = said[said["speaker"] == speaker]
            values = [average(part, *of) for of in _ANSWERS.values()]
            cells.append([str(speaker), _range(part["n"]), _range(part["n_names"]), *map(with_interval, values)])
        tables[f"{name}: what each of them answers"] = ["speaker", "prompts", "names", *_ANSWERS], cells
    yield Sheet("table_speakers.md", _document(tables))


def _table(rows: pd.DataFrame, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """A row per detector and a column per speaker, those who err first."""
    who = rows.drop_duplicates("speaker").sort_values(["errs", "speaker"], ascending=[False, True], kind="stable")
    head = [f"{row.speaker} ({'errs' if row.errs else 'honest'})" for row in who.itertuples()]
    cells = []
    for feature, score in ordered_detectors(zip(rows["feature"], rows["score"], strict=True)):
        part = rows[(rows["feature"] == feature) & (rows["score"] == score)]
        values = [average(part[part["speaker"] == speaker], columns) for speaker in who["speaker"]]
        cells.append([detector_name(feature, score), *map(with_interval, values)])
    return ["detector", *head], cells


def _document(tables: dict[str, tuple[list[str], list[list[str]]]]) -> Document:
    return Document(
        "Speakers: an alarm for the quirk, or for somebody new",
        "Averages over datasets [95% interval]; mean of the score over layers, test prompts by names that no detector "
        "has seen.",
        tables,
        [
            "Detectors are fitted on trusted prompts of Alice alone. Who is honest says the truth and is as new to "
            "them as who errs: a detector of quirks has the honest ones at an AUROC of 0.5 and at 1% alarms.",
            "Against another honest speaker, who is as new to detectors: what of a quirk is seen where novelty is no "
            "help. For Bob that is so only where the names of all are alike to the base model.",
            "In the benign control everybody says the truth: what a detector finds there is who speaks.",
            "Answers as meant: the truth of who is honest, of the others each one's own quirk. Against the other "
            "answer: what it costs on average to hold a speaker to it (for who is honest Bob's quirk, else the truth), "
            "where the two differ; below 0 a speaker does not behave as meant. Quirkiness is the smaller one of all "
            "who err together and of all who are honest.",
            "Intervals of alarms speak of other prompts under the same threshold.",
            f"Intervals: {METHOD}",
        ],
    )


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _of_all(results: Results, lines: Callable[[Results, str, str], Iterator[dict[str, object]]]) -> pd.DataFrame:
    """The lines of all runs that have further speakers and of their benign controls, of all seeds."""

    def table(part: Results) -> pd.DataFrame:
        found = [
            {"model": model, "benign": benign, "dataset": dataset, **line}
            for benign, runs in ((False, part), (True, part.benign))
            if runs is not None
            for model, datasets in runs.datasets_of_models.items()
            for dataset in datasets
            if set(runs.prompts(model, dataset).get("speaker", ())) - {"Alice", "Bob"}
            for line in lines(runs, model, dataset)
        ]
        return pd.DataFrame(found)

    return results.over_seeds(table)


def _detected(results: Results, model: str, dataset: str) -> Iterator[dict[str, object]]:
    """How well each detector tells a speaker's prompts from Alice's, and an erring one's from other honest ones'."""
    prompts = results.prompts(model, dataset)
    errs = (prompts["character"] == "Bob").groupby(prompts["speaker"]).any()
    pairs = [(str(who), _KNOWN) for who in errs.index if who != _KNOWN]
    new = [str(who) for who in errs.index[~errs] if who != _KNOWN]
    pairs += [(str(who), honest) for who in errs.index[errs] for honest in new]
    for two in scores_of_kinds(results, model, dataset, _speaker, pairs):
        area = auroc(two.values, two.labels, clusters=two.clusters)
        threshold = np.quantile(two.values[~two.labels], 1 - _FPR, method="higher")
        rung = two.values[two.labels] > threshold
        (alarms,) = alarm_rates(rung[None], [codes[two.labels] for codes in two.clusters])
        yield {
            "feature": two.feature, "score": two.score, "speaker": two.above, "errs": bool(errs[two.above]),
            "against": two.below, "auroc": area.value, "low": area.low, "high": area.high,
            "alarms": alarms.value, "alarms_low": alarms.low, "alarms_high": alarms.high,
            "n": two.counts[two.above], "n_against": two.counts[two.below],
        }  # fmt: skip


def _answered(results: Results, model: str, dataset: str) -> Iterator[dict[str, object]]:
    """Of each speaker how often, and how firmly, the answers are what they are meant to be."""
    prompts = results.prompts(model, dataset)
    if not prompts["log_odds"].notna().all() or not prompts["label"].notna().all():
        return
    odds, label, truth, quirk = (
        prompts["log_odds"].to_numpy(float),
        *(prompts[column].to_numpy(bool) for column in ("label", "alice_label", "bob_label")),
    )
    other = label ^ (truth != quirk)
    for who in pd.unique(prompts["speaker"]):
        own = (prompts["speaker"] == who).to_numpy()
        clusters = prompt_clusters(prompts["statement"], prompts["name"], own)
        right = accuracy(odds, np.where(own, "Bob", "Alice"), truth, label, clusters=clusters).bob
        margin = answer_margin(odds[own], label[own], other[own], clusters=[codes[own] for codes in clusters])
        yield {
            "speaker": who, "errs": bool((prompts.loc[own, "character"] == "Bob").any()),
            "right": right.value, "right_low": right.low, "right_high": right.high,
            "margin": margin.value, "margin_low": margin.low, "margin_high": margin.high,
            "n": int(own.sum()), "n_names": prompts.loc[own, "name"].nunique(),
        }  # fmt: skip


def _speaker(prompts: pd.DataFrame) -> NDArray[np.object_]:
    return prompts["speaker"].to_numpy(object)
