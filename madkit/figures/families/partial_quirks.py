"""Partial quirks: does a detector see who speaks, or the prompts on which the quirk shows?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.naming import detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.averages import METHOD, average
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.kinds_of_prompts import scores_of_kinds
from madkit.statistics.auroc_interval import auroc

_KINDS = ("shown", "silent", "others")
_PAIRS = {
    ("shown", "others"): "quirk against others' prompts",
    ("shown", "silent"): "quirk against the same speakers' other prompts",
    ("silent", "others"): "these against others' prompts",
}


@artist("stress", after="prevalence")
def partial_quirks(results: Results) -> Iterator[Sheet]:
    """`table_partial_quirks.md` and `.csv`: AUROC between prompts that show the quirk and two kinds that do not."""
    lines = [
        line for model, datasets in results.datasets_of_models.items() for line in _lines(results, model, datasets)
    ]
    if not lines:
        return
    table = pd.DataFrame(lines)
    yield Sheet("table_partial_quirks.csv", table.to_csv(index=False, lineterminator="\n"))
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for model in dict.fromkeys(table["model"]):
        own = table[table["model"] == model]
        shares = own.drop_duplicates("dataset")
        quirky = shares["n_shown"].sum() / (shares["n_shown"] + shares["n_silent"]).sum()
        cells = []
        for feature, score in ordered_detectors(zip(own["feature"], own["score"], strict=True)):
            part = own[(own["feature"] == feature) & (own["score"] == score)]
            of_pairs = [average(part[part["pair"] == " ".join(pair)]) for pair in _PAIRS]
            cells.append([detector_name(feature, score), *map(with_interval, of_pairs)])
        tables[f"{model}, where the quirk shows on {quirky:.0%} of the prompts"] = ["detector", *_PAIRS.values()], cells
    document = Document(
        "Partial quirks: who speaks, and what is done",
        "AUROC [95% interval] of the mean over layers, averaged over datasets.",
        tables,
        [
            "The quirk shows on a share of the statements when its character speaks (or a trigger is there); on the "
            "others that character says the truth. A digest of the statement decides which these are.",
            "A detector of what is done has the first two columns high and the last one at 0.5; a detector of who "
            "speaks has the first and the last one high and the second one at 0.5.",
            "A model that cannot know on which statements it is to err can only be unsure on all of them.",
            f"Intervals: {METHOD}",
        ],
    )
    yield Sheet("table_partial_quirks.md", document)


def _lines(results: Results, model: str, datasets: list[str]) -> Iterator[dict[str, object]]:
    for dataset in datasets:
        prompts = results.prompts(model, dataset)
        if "speaker" not in prompts or not set(prompts["speaker"]) <= {"Alice", "Bob"}:
            continue
        for two in scores_of_kinds(results, model, dataset, _kinds, _PAIRS):
            area = auroc(two.values, two.labels, clusters=two.clusters)
            named = {"model": model, "dataset": dataset, "feature": two.feature, "score": two.score}
            interval = {"auroc": area.value, "low": area.low, "high": area.high}
            counts = {f"n_{kind}": two.counts.get(kind, 0) for kind in _KINDS}
            yield {**named, "pair": f"{two.above} {two.below}", **interval, **counts}


def _kinds(prompts: pd.DataFrame) -> NDArray[np.object_]:
    silent = np.where(prompts["speaker"] == "Bob", "silent", "others")
    return np.where(prompts["character"] == "Bob", "shown", silent).astype(object)
