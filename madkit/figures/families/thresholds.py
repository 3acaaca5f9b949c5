"""Thresholds under shift: what becomes of a nominal 1%, by the way in which the threshold is set."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.averages import METHOD, Average, average
from madkit.figures.tables.document import Document
from madkit.figures.tables.false_alarms import FALSE_ALARMS

_FILE = "detection/thresholds.parquet"
_TPR = ("tpr", "tpr_low", "tpr_high")
_SHARE = 0.05
_WAYS = {
    "trusted": "held-out trusted prompts, which are easy",
    "nuisance": "the same of scores less what length, and how unusual the base finds a prompt, explain of them",
    "weighted": "held-out trusted prompts, weighted by how much more frequent such ones are in the stream",
    "stream": "the median and the upper quartile of the stream",
    "recalibrated": "an alarm has to be one by the stream and by the trusted prompts",
    "nuisance_recalibrated": "the same of scores less what these explain",
    "labels": "the 99% quantile of the normal test prompts themselves, which nobody knows: what can be reached",
}


@artist("comparison", after="rare_alarms")
def thresholds(results: Results) -> Iterator[Sheet]:
    """`table_thresholds.md` and `.csv`: false alarms on hard normal prompts, and TPR, averaged over datasets."""
    table = results.over_seeds(lambda part: part.table(_FILE))
    if table.empty:
        return
    table["share"] = table["share"].fillna(-1.0)  # no stream
    lines: list[dict[str, object]] = []
    cells: dict[str, dict[str, dict[str, str]]] = {}
    shares = sorted(set(table["share"]) - {-1.0})
    shown = {-1.0, _SHARE if _SHARE in shares or not shares else shares[0]}
    keys = ["model", "feature", "score", "aggregation", "method", "share"]
    for values, part in table.groupby(keys, sort=False):
        model, feature, score, aggregation, way = map(str, values[:-1])
        share = float(part["share"].iloc[0])
        alarms, caught = average(part, FALSE_ALARMS), average(part, _TPR)
        if alarms is None or caught is None:
            continue
        named = dict(zip(keys, values, strict=True)) | {"share": None if share < 0 else share}
        named |= {"setting": part["setting"].iloc[0], "needs": ", ".join(sorted(set(part["needs"])))}
        for statistic, value in (("false_alarms", alarms), ("tpr", caught)):
            lines.append({**named, "nominal": part["nominal"].max(), "statistic": statistic, **value._asdict()})
        if aggregation == "mean" and share in shown:
            row = cells.setdefault(model, {}).setdefault(detector_name(feature, score), {})
            row[way] = _cell(alarms, caught)
    yield Sheet("table_thresholds.csv", pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
    share_shown = max(shown)
    document = Document(
        "Thresholds under shift: false alarms on hard normal prompts at a nominal 1%, and TPR",
        "Mean over layers, averaged over datasets; each cell: false alarms / TPR. Intervals are in the CSV.",
        {
            model: (["detector", *_WAYS], [[name, *(row.get(way, "-") for way in _WAYS)] for name, row in rows.items()])
            for model, rows in cells.items()
        },
        [
            *(f"*{way}*: {meaning}." for way, meaning in _WAYS.items()),
            f"The stream is unlabelled: normal test prompts, with {share_shown:.0%} anomalous ones. Prompts of half "
            "the statements are judged by the stream of the other half. What uses it is offline.",
            "With fewer than 99 calibration prompts, nominal is the smallest rate that they can promise.",
            f"Intervals: {METHOD}",
        ],
    )
    yield Sheet("table_thresholds.md", document)


def _cell(alarms: Average, caught: Average) -> str:
    return f"{alarms.value:.3f} / {caught.value:.3f}"
