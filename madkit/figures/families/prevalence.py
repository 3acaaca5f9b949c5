"""Detection against prevalence: what offline scores find that have learned from few or many anomalous prompts."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_range, detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.results.selection import first_panels
from madkit.figures.tables.averages import METHOD, average
from madkit.figures.tables.document import Document, with_interval

_FILE = "detection/prevalence.parquet"
_STATISTICS = {"auroc": ("AUROC", ("auroc", "low", "high")), "tpr": ("TPR at 1% FPR", ("tpr", "tpr_low", "tpr_high"))}


@artist("stress", after="distractors", reads=(_FILE,))
def prevalence(results: Results) -> Iterator[Sheet]:
    """A figure per model with a panel per dataset, `table_prevalence.md` and `.csv`."""
    rows = results.over_seeds(lambda part: part.table(_FILE))
    if rows.empty:
        return
    rows = rows[(rows["aggregation"] == "mean") & rows["adapter"]]
    shown = first_panels(results)
    for (model,), part in grouped(rows[rows["model"].isin(shown.models)], "model"):
        first = part[part["seed"] == part["seed"].min()]
        datasets = [name for name in shown.datasets if name in set(first["dataset"])]
        yield Sheet(f"prevalence_{results.slug(model)}", _draw(model + shown.shown, first, datasets, shown), model)
    yield from _tables(rows)


def _draw(model: str, rows: pd.DataFrame, datasets: list[str], results: Results) -> Figure:
    detectors = ordered_detectors(zip(rows["feature"], rows["score"], strict=True))
    looks = {d: (style.PALETTE[i % len(style.PALETTE)], style.MARKERS[i]) for i, d in enumerate(detectors)}
    shares = sorted(set(rows["prevalence"]))
    figure, axes = panel_page(
        f"{model}: offline detectors by the share of anomalous prompts that they learn from",
        f"A point per mixture of {count_range(rows['n_untrusted'])} untrusted prompts without labels; mean of the "
        "score over layers on all test prompts; bars: 95% intervals. Dashed: Mahalanobis of the same feature, which "
        "learns from trusted prompts alone.",
        [
            PanelBlock(datasets, "share of the untrusted prompts that are anomalous", name)
            for name, _ in _STATISTICS.values()
        ],
        [[Line2D([], [], color=c, marker=m, label=detector_name(*d)) for d, (c, m) in looks.items()]],
        style.PANEL["medium"],
        columns=3,
    )
    lowest = {"auroc": min(0.35, float(rows["low"].min()) - 0.03), "tpr": -0.03}
    online = results.aggregated()
    online = online[(online["subset"] == "all") & ~online["control"] & (online["score"] == "mahalanobis")]
    for (name, columns), row in zip(_STATISTICS.values(), axes, strict=True):
        for dataset, ax in zip(datasets, row, strict=True):
            for (feature, score), (color, marker) in looks.items():
                part = rows[(rows["dataset"] == dataset) & (rows["feature"] == feature) & (rows["score"] == score)]
                part = part.sort_values("prevalence")
                x = part["prevalence"].to_numpy(float)
                value, low, high = part[list(columns)].to_numpy(float).T
                ax.vlines(x, low, high, color=color, lw=0.7, alpha=0.6)
                (drawn,) = ax.plot(x, value, marker=marker, color=color, lw=1.0)
                told = detector_name(feature, score)
                marks = zip(x, value, low, high, strict=True)
                describe_points(drawn, [f"{told}, {p:.0%}: {name} {v:.3f} [{a:.3f}, {b:.3f}]" for p, v, a, b in marks])
                beside = online[
                    (online["model"] == part["model"].iloc[0] if len(part) else False)
                    & (online["dataset"] == dataset)
                    & (online["feature"] == feature)
                ]
                for level in beside[columns[0]].dropna()[:1]:
                    ax.axhline(level, color=color, ls="--", lw=0.8)
            ax.set_xscale("log")
            ax.set_xticks(shares, [f"{share:.0%}" for share in shares])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_ylim(lowest[columns[0]], 1.03)
    return figure


def _tables(rows: pd.DataFrame) -> Iterator[Sheet]:
    lines: list[dict[str, object]] = []
    cells: dict[str, dict[str, dict[float, str]]] = {}
    for (model, feature, score), part in grouped(rows, "model", "feature", "score"):
        for share, own in part.groupby("prevalence"):
            for statistic, (name, columns) in _STATISTICS.items():
                value = average(own, columns)
                named = {"model": model, "feature": feature, "score": score, "prevalence": share}
                if value is not None:
                    lines.append({**named, "statistic": statistic, **value._asdict()})
                row = cells.setdefault(f"{model}: {name}", {}).setdefault(detector_name(feature, score), {})
                row[float(np.asarray(share))] = with_interval(value)
    yield Sheet("table_prevalence.csv", pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
    shares = sorted(set(rows["prevalence"]))
    head = ["detector", *(f"{share:.0%}" for share in shares)]
    document = Document(
        "Prevalence: offline detectors by the share of anomalous prompts that they learn from",
        "Each number: average over datasets [95% interval], mean over layers, on the same test prompts.",
        {
            heading: (head, [[name, *(row.get(share, "-") for share in shares)] for name, row in of_model.items()])
            for heading, of_model in cells.items()
        },
        [
            "The mixtures are of untrusted prompts, which are easy and unlabelled; each is as large as its share "
            "allows.",
            f"Intervals: {METHOD}",
        ],
    )
    yield Sheet("table_prevalence.md", document)
