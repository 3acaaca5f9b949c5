"""What a detector is worth when false alarms must be rare: the low end of the ROC curve."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import anomalous_share, detector_name, with_control, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import METHOD, average
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.false_alarms import about_false_alarms

_STATISTICS = {
    "auroc": "AUROC",
    "partial_auroc": "AUROC at FPR <= 1%",
    "tpr": "TPR at 1% FPR",
    "average_precision": "average precision",
    "false_alarms": "false alarms at nominal 1%",
}


@artist("comparison", after="aggregations")
def rare_alarms(results: Results) -> Iterator[Sheet]:
    """`table_rare_alarms.md` and `.csv`: statistics of the mean over sites, averaged over datasets."""
    table = results.over_seeds(Results.aggregated)
    if "partial_auroc" not in table or table.empty:
        return
    lines: list[dict[str, object]] = []
    cells: dict[str, list[list[str]]] = {}
    names = ("control", "model", "feature", "score", "setting", "subset")
    for (control, model, feature, score, setting, subset), part in grouped(table, *names):
        adapter = control == "False"
        line = [with_setting(with_control(detector_name(feature, score), not adapter), setting)]
        for statistic in _STATISTICS:
            prefix = "" if statistic == "auroc" else f"{statistic}_"
            value = average(part, (statistic, f"{prefix}low", f"{prefix}high"))
            line.append(with_interval(value))
            if value is not None:
                keys = {"model": model, "feature": feature, "adapter": adapter, "score": score, "setting": setting}
                lines.append({**keys, "subset": subset, "statistic": statistic, **value._asdict()})
        if subset == "all":
            counts = part[["n_normal", "n_anomalous", "n_statements"]].sum()
            cells.setdefault(model, []).append([*line, *map(str, counts)])
    yield Sheet("table_rare_alarms.csv", pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
    head = ["detector", *_STATISTICS.values(), "normal", "anomalous", "statements"]
    notes = [
        "*AUROC at FPR <= 1%*: standardised, 0.5 is chance and 1 perfect (McClish 1989).",
        "*TPR at 1% FPR*: the most anomalous prompts that a threshold catches with at most 1% false alarms.",
        f"*Average precision*: chance is the share of anomalous prompts, {anomalous_share(table)} here.",
        *about_false_alarms(table[table["subset"] == "all"]),
        "With fewer than some 400 normal prompts in a dataset, 1% is a handful of prompts and the intervals say so.",
        f"Intervals: {METHOD}",
    ]
    document = Document(
        "Rare alarms: all test prompts, mean over layers, averaged over datasets",
        "Each number: average [95% interval]; then the test prompts of all datasets together, and the statements that "
        "they ask.",
        {model: (head, rows) for model, rows in cells.items()},
        notes,
    )
    yield Sheet("table_rare_alarms.md", document)
