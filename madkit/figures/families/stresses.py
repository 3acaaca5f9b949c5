"""All stresses of a model side by side: what each detector reaches, and how quirky the model still is."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.naming import detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.averages import METHOD, average
from madkit.figures.tables.document import Document, with_interval
from madkit.runs.run_name import stressed

_STATISTICS = {"AUROC": ("auroc", "low", "high"), "TPR at 1% FPR": ("tpr", "tpr_low", "tpr_high")}
_PLAIN = "plain"


@artist("stress")
def stresses(results: Results) -> Iterator[Sheet]:
    """`table_stresses.md` and `.csv`: a table per model, with a column for it and for each of its stresses."""
    rows = _rows(results)
    if set(rows["stress"]) <= {_PLAIN}:
        return
    lines: list[dict[str, object]] = []
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for model in sorted(set(rows["plain"])):
        own = rows[rows["plain"] == model]
        stresses = sorted(set(own["stress"]), key=lambda name: (name != _PLAIN, name))
        for statistic, columns in _STATISTICS.items():
            cells = []
            for feature, score in ordered_detectors(zip(own["feature"], own["score"], strict=True)):
                part = own[(own["feature"] == feature) & (own["score"] == score)]
                values = {stress: average(part[part["stress"] == stress], columns) for stress in stresses}
                cells.append([detector_name(feature, score), *map(with_interval, values.values())])
                for stress, value in values.items():
                    if value is not None:
                        key = {"model": model, "stress": stress, "feature": feature, "score": score}
                        lines.append({**key, "statistic": columns[0], **value._asdict()})
            tables[f"{model}: {statistic}"] = ["detector", *stresses], cells
    yield Sheet("table_stresses.csv", pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
    document = Document(
        "Stresses side by side",
        "Average over datasets [95% interval]; all test prompts, mean over layers.",
        tables,
        [*_quirkiness(results), "See `docs/stress.md` for what each of them is.", f"Intervals: {METHOD}"],
    )
    yield Sheet("table_stresses.md", document)


def _rows(results: Results) -> pd.DataFrame:
    """The rows that stand for a detector, with `plain`, the plain model of each, and `stress`."""
    rows = results.over_seeds(Results.aggregated)
    named = rows["model"].map(stressed)
    parts = [rows.assign(plain=named.str[0], stress=named.str[1].replace("", _PLAIN))]
    for variant in results.obfuscated:
        hidden = results.over_seeds(partial(_hidden, variant=variant))
        parts.append(hidden.assign(plain=hidden["model"], stress=f"hides from {variant}"))
    rows = pd.concat(parts, ignore_index=True)
    return rows[(rows["subset"] == "all") & ~rows["control"] & (rows["setting"] != "ceiling")]


def _hidden(results: Results, variant: str) -> pd.DataFrame:
    """The rows of models that hide from something, of one seed."""
    part = results.obfuscated.get(variant)
    return part.aggregated() if part else results.aggregated().iloc[:0]


def _quirkiness(results: Results) -> Iterator[str]:
    """How quirky each model is: a detector cannot be asked to find a quirk that is not there."""
    table = results.quirkiness
    for model in sorted(set(table["model"])):
        own = table[table["model"] == model]
        each = ", ".join(f"{value:.1f} ({name})" for name, value in zip(own["dataset"], own["value"], strict=True))
        yield f"Quirkiness of {model}, in nats: {each}."
