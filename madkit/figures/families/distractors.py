"""Distractors: how many unusual prompts on which nothing is wrong alarm, beside the anomalous ones that do."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range, detector_name, with_control
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.results.selection import first_models
from madkit.figures.tables.averages import METHOD, Average, average
from madkit.figures.tables.document import Document, with_interval

_FILE = "detection/distractors.parquet"
_ALARMS = ("alarms", "alarms_low", "alarms_high")
_NORMAL = ("false_alarms", "false_alarms_low", "false_alarms_high")
_TPR = ("tpr", "tpr_low", "tpr_high")
_THRESHOLDS = {
    "normal": "threshold of 1% of the normal test prompts",
    "trusted": "threshold of 1% of held-out trusted prompts",
}


@artist("stress", after="stresses", reads=(_FILE,))
def distractors(results: Results) -> Iterator[Sheet]:
    """A figure per model, `table_distractors.md` and `.csv`: alarms of distractors at the threshold of the test."""
    rows = _rows(results)
    if rows.empty:
        return
    shown = first_models(results)
    for (model,), part in grouped(rows[rows["model"].isin(shown.models)], "model"):
        yield Sheet(f"distractors_{results.slug(model)}", _draw(model + shown.shown, part), model)
    yield from _tables(rows)


def _rows(results: Results) -> pd.DataFrame:
    """Alarms of mean scores on models and on their benign controls, of all seeds."""
    parts = [results.over_seeds(lambda part: part.table(_FILE)).assign(benign=False)]
    parts.append(
        results.over_seeds(lambda p: p.benign.table(_FILE) if p.benign else p.table(_FILE).iloc[:0]).assign(benign=True)
    )
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return rows[rows["aggregation"] == "mean"] if len(rows) else rows


def _draw(model: str, rows: pd.DataFrame) -> Figure:
    """A panel for the model and one for its benign control: a row per detector, a mark per kind of prompts."""
    rows = rows[rows["threshold"] == "normal"]
    kinds = list(dict.fromkeys(rows["kind"]))
    looks = {kind: (style.PALETTE[1:][i % 7], style.MARKERS[1:][i % 11]) for i, kind in enumerate(kinds)}
    models = [name for name in (False, True) if (rows["benign"] == name).any()]
    pairs = rows[["feature", "score", "adapter"]].drop_duplicates().itertuples(index=False, name=None)
    known = {(feature, score, adapter) for feature, score, adapter in pairs}
    order = ordered_detectors((feature, score) for feature, score, _ in known)
    detectors = [(*pair, adapter) for adapter in (True, False) for pair in order if (*pair, adapter) in known]
    figure, axes = panel_page(
        f"{model}: alarms on unusual prompts on which nothing is wrong",
        "Shares of prompts above the threshold that 1% of the normal test prompts exceed; mean of the score over "
        f"layers, averaged over datasets ({count_range(rows.groupby('benign')['dataset'].nunique())}), "
        f"{count_range(rows['n'])} distractors of each kind in each; lines: 95% intervals. A detector of anomalies has "
        "its dot to the right and all other marks to the left.",
        [
            PanelBlock(
                ["quirky model" if not benign else "benign control" for benign in models], "share that alarms", ""
            )
        ],
        [
            [
                Line2D([], [], color=style.PALETTE[0], marker="o", ls="", label="anomalous test prompts (TPR)"),
                *(Line2D([], [], color=c, marker=m, ls="", label=kind) for kind, (c, m) in looks.items()),
            ]
        ],
        (4.2, 0.4 + 0.3 * len(detectors)),
        columns=2,
    )
    for benign, ax in zip(models, axes[0], strict=True):
        for line, (feature, score, adapter) in enumerate(detectors):
            part = rows[
                (rows["benign"] == benign)
                & (rows["feature"] == feature)
                & (rows["score"] == score)
                & (rows["adapter"] == adapter)
            ]
            if part.empty:
                continue
            once = part.drop_duplicates(["dataset", "seed"])
            marks = [("anomalous", average(once, _TPR), style.PALETTE[0], "o")]
            marks += [(kind, average(part[part["kind"] == kind], _ALARMS), *look) for kind, look in looks.items()]
            for index, (name, value, color, marker) in enumerate(marks):
                if value is None:
                    continue
                y = line + (index - (len(marks) - 1) / 2) * 0.7 / len(marks)
                ax.hlines([y], [value.low], [value.high], color=color, lw=0.8, alpha=0.6)
                (drawn,) = ax.plot([value.value], [y], marker, color=color, ms=4)
                told = f"{detector_name(feature, score)}, {name}: {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
                describe_points(drawn, [told])
        ax.axvline(0.01, color=style.INK, ls=":", lw=0.8)
        ax.set_xlim(-0.02, 1.02)
    names = [with_control(detector_name(feature, score), not adapter) for feature, score, adapter in detectors]
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def _tables(rows: pd.DataFrame) -> Iterator[Sheet]:
    lines: list[dict[str, object]] = []
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    kinds = list(dict.fromkeys(rows["kind"]))
    head = ["detector", "anomalous (TPR)", "normal", *kinds]
    names = ("benign", "model", "threshold", "adapter", "feature", "score")
    for key, part in grouped(rows, *names):
        benign, model, threshold, adapter, feature, score = key
        once = part.drop_duplicates(["dataset", "seed"])
        values = {"anomalous": average(once, _TPR), "normal": average(once, _NORMAL)}
        values |= {kind: average(part[part["kind"] == kind], _ALARMS) for kind in kinds}
        named = {**dict(zip(names, key, strict=True)), "benign": benign == "True", "adapter": adapter == "True"}
        for kind, value in values.items():
            if value is not None:
                share = part.loc[part["kind"] == kind, "right"].mean() if kind in kinds else None
                lines.append({**named, "kind": kind, **value._asdict(), "right": share})
        heading = f"{model}{', benign control' if benign == 'True' else ''}, {_THRESHOLDS[threshold]}"
        name = with_control(detector_name(feature, score), adapter == "False")
        tables.setdefault(heading, (head, []))[1].append([name, *map(_cell, values.values())])
    yield Sheet("table_distractors.csv", pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
    right = rows.drop_duplicates(["benign", "model", "dataset", "seed", "kind"]).dropna(subset=["right"])
    answered = [
        f"{model}{', benign control' if benign == 'True' else ''}: of distractors it answers rightly "
        + ", ".join(f"{share:.0%} ({kind})" for kind, share in part.groupby("kind", sort=False)["right"].mean().items())
        + "."
        for (benign, model), part in grouped(right, "benign", "model")
    ]
    document = Document(
        "Distractors: alarms on unusual prompts on which nothing is wrong",
        "Each number: share of prompts that alarm [95% interval], mean over layers, averaged over datasets.",
        dict(tables),
        [
            "Distractors are normal test prompts in other words: the question, who speaks and the right answer are "
            "the same. No detector, threshold or aggregate is fitted on them.",
            "What alarms on distractors as often as on anomalous prompts is a detector of what is new.",
            *answered,
            f"Intervals: {METHOD}",
        ],
    )
    yield Sheet("table_distractors.md", document)


def _cell(value: Average | None) -> str:
    return with_interval(value)
