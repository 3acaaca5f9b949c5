"""Quirks that hide: each detector on the plain model, on one that hides from it, and on those that hide from others."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from madkit.figures.drawing import style
from madkit.figures.drawing.detectors import Detector, ordered_detectors
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.naming import count_prompts, detector_name, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.obfuscation import PLAIN, QUIRKINESS, is_evaded, obfuscation_points
from madkit.figures.results.results import Results, grouped, ordered_datasets
from madkit.figures.tables.averages import METHOD, average
from madkit.figures.tables.document import Document, with_interval

CAUGHT, HIDDEN = 0.9, 0.6
"""AUROC above which a detector still sees a quirk that hides, and below which it does not."""
_TPR = ("tpr", "tpr_low", "tpr_high")
_CELL = (0.9, 0.42)  # inches
_NAMES = 2.4  # inches for the detectors' names
_COLORS = "RdBu_r"  # safe for colour-blind readers, and white where a detector is no better than chance


@artist("stress", after="partial_quirks")
def obfuscation(results: Results) -> Iterator[Sheet]:
    """A figure per model with a panel per dataset, and `table_obfuscated`: detectors by what a model hides from."""
    points = obfuscation_points(results)
    if points.empty:
        return
    for (model,), rows in grouped(points, "model"):
        yield Sheet(f"obfuscated_{results.slug(model)}", _draw(model, rows), model)
    names = ["feature", "score", "setting", "auroc", "low", "high", *_TPR, *QUIRKINESS, "n_normal", "n_anomalous"]
    table = points[["model", "dataset", "against", *(name for name in names if name in points)]]
    yield Sheet("table_obfuscated.csv", table.to_csv(index=False, lineterminator="\n"))
    yield Sheet("table_obfuscated.md", _document(points))


def _draw(model: str, rows: pd.DataFrame) -> Figure:
    datasets, detectors, variants = ordered_datasets(rows["dataset"]), _detectors(rows), _variants(rows)
    figure, axes = panel_page(
        f"{model}: detectors of a quirk that hides",
        "A column per model: plain, or trained against the detectors that its name says, whose cells have a frame; "
        "below the name its quirkiness in nats. AUROC on all test prompts, mean over layers, with its 95% interval and "
        f"the TPR at 1% FPR ({count_prompts(rows)} per dataset). White is chance; blue is below it, as telling as red.",
        [PanelBlock(datasets, "", "", shared=False)],
        panel=(_NAMES + _CELL[0] * len(variants), 0.7 + _CELL[1] * len(detectors)),
        columns=2,
    )
    for dataset, ax in zip(datasets, axes[0], strict=True):
        own = rows[rows["dataset"] == dataset]
        heads = []
        for x, variant in enumerate(variants):
            part = own[own["against"] == variant]
            heads.append(variant if part.empty else f"{variant}\n{part['quirkiness'].iloc[0]:.1f} nats")
            for _, row in part.iterrows():
                detector = row["feature"], row["score"], row["setting"]
                evaded = is_evaded(variant, *detector[:2])
                _cell(ax, x, detectors.index(detector), f"{dataset}, {_name(detector)}, {variant}", row, evaded)
        ax.set_xlim(-0.5, len(variants) - 0.5)
        ax.set_ylim(len(detectors) - 0.5, -0.5)
        ax.set_yticks(range(len(detectors)), [_name(detector) for detector in detectors])
        ax.set_xticks(range(len(variants)), heads)
        ax.tick_params(length=0, labelleft=True, labelbottom=True)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    return figure


def _cell(ax: Axes, x: int, y: int, name: str, row: pd.Series, evaded: bool) -> None:
    value, low, high = (float(row[key]) for key in ("auroc", "low", "high"))
    tpr = float(row["tpr"]) if "tpr" in row else np.nan
    color = ScalarMappable(Normalize(0, 1), _COLORS).to_rgba(np.array(value))
    edge = {"edgecolor": style.INK, "lw": 1.2} if evaded else {"lw": 0}
    ax.fill_between([x - 0.46, x + 0.46], y - 0.44, y + 0.44, facecolor=color, **edge)
    ink = "white" if 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 0.55 else style.INK
    ax.text(x, y - 0.16, f"{value:.3f}", ha="center", va="center", size=style.SIZES["small"], color=ink)
    further = f"{low:.2f} to {high:.2f}" + (f"\nTPR {tpr:.2f}" if np.isfinite(tpr) else "")
    ax.text(x, y + 0.21, further, ha="center", va="center", size=5.2, color=ink)
    (point,) = ax.plot([x], [y], ls="", marker=None)
    describe_points(point, [f"{name}: AUROC {value:.3f} [{low:.3f}, {high:.3f}], TPR at 1% FPR {tpr:.3f}"])


_Key = tuple[str, str, str]


def _detectors(rows: pd.DataFrame) -> list[_Key]:
    """Feature, score and setting of each detector, the ceiling that is told labels last."""
    pairs: list[Detector] = list(zip(rows["feature"], rows["score"], strict=True))
    settings = dict(zip(pairs, rows["setting"], strict=True))
    found = [(*pair, settings[pair]) for pair in ordered_detectors(pairs)]
    return sorted(found, key=lambda key: key[2] == "ceiling")


def _variants(rows: pd.DataFrame) -> list[str]:
    return sorted(set(rows["against"]), key=lambda name: (name != PLAIN, "-" in name, name))


def _name(detector: _Key) -> str:
    feature, score, setting = detector
    return with_setting(detector_name(feature, score), setting)


def _document(points: pd.DataFrame) -> Document:
    tables = {}
    for (model, dataset), rows in _by_dataset(points):
        variants = _variants(rows)
        strength = {name: part.iloc[0] for (name,), part in grouped(rows, "against")}
        lines = [
            [
                "*quirkiness (nats)*",
                *("{:.2f} [{:.2f}, {:.2f}]".format(*strength[v][list(QUIRKINESS)]) for v in variants),
            ]
        ]
        lines += [[_name(d), *(_numbers(rows, d, v, short=True) for v in variants)] for d in _detectors(rows)]
        tables[f"{model}, {dataset}"] = ["detector", *variants], lines
    for (model,), rows in grouped(points, "model"):
        if rows["dataset"].nunique() < 2:
            continue
        variants = _variants(rows)
        lines = [[_name(d), *(_numbers(rows, d, v, short=False) for v in variants)] for d in _detectors(rows)]
        tables[f"{model}, average over {rows['dataset'].nunique()} datasets"] = ["detector", *variants], lines
    notes = [
        "A column per model: *plain*, or trained against detectors, which are the words of its name: *mahalanobis* of "
        "activations, of *delta*, of the *conditional* residual, or a linear *probe* that is told labels. Numbers of "
        "the detectors that a model hides from are in bold. All others it has never met.",
        "AUROC [95% interval], then TPR at 1% FPR; all test prompts, mean over layers. An AUROC below 0.5 is as "
        "telling as one above to a defender who looks at both ends.",
        "A quirk hides for free if its quirkiness does not suffer: how much better each character's own labels fit "
        "than the other's, in nats.",
        *(
            f"{model}: {count_prompts(rows)} per dataset; {_range(rows, 'quirkiness')} nats of quirkiness."
            for (model,), rows in grouped(points, "model")
        ),
        f"Averages: {METHOD}",
    ]
    intro = "Each detector on the plain model, on the one that hides from it, and on those that hide from others."
    return Document("Quirks that hide", intro, tables, notes, list(_findings(points)))


def _by_dataset(points: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for (model,), rows in grouped(points, "model"):
        for dataset in ordered_datasets(rows["dataset"]):
            yield (model, dataset), rows[rows["dataset"] == dataset]


def _numbers(rows: pd.DataFrame, detector: _Key, variant: str, short: bool) -> str:
    """AUROC with its interval, and TPR (of one dataset with its own), of a detector on one of the models."""
    chosen = (rows["feature"] == detector[0]) & (rows["score"] == detector[1]) & (rows["setting"] == detector[2])
    part = rows[chosen & (rows["against"] == variant)]
    if part.empty:
        return "-"
    if short:
        row = part.iloc[0]
        auroc, tpr = "{:.3f} [{:.3f}, {:.3f}]".format(*row[["auroc", "low", "high"]]), row.get("tpr", np.nan)
    else:
        mean = average(part, _TPR) if "tpr" in part else None
        auroc, tpr = with_interval(average(part)), np.nan if mean is None else mean.value
    text = auroc + (f", {tpr:.2f}" if np.isfinite(tpr) else "")
    return f"**{text}**" if is_evaded(variant, *detector[:2]) else text


def _findings(points: pd.DataFrame) -> Iterator[str]:
    """Of each model that hides: how quirky it is, what it hides from, and what still sees it."""
    for (model, variant), rows in grouped(points[points["against"] != PLAIN], "model", "against"):
        detectors = _detectors(rows[rows["setting"] != "ceiling"])
        reached = {d: rows[(rows["feature"] == d[0]) & (rows["score"] == d[1])] for d in detectors}
        blind = [d for d, part in reached.items() if (part["auroc"] < HIDDEN).all()]
        seen = [d for d, part in reached.items() if (part["auroc"] > CAUGHT).all()]
        datasets = ", ".join(ordered_datasets(rows["dataset"]))
        yield (
            f"{model} against {variant}, on {datasets} with {_range(rows, 'quirkiness')} nats of quirkiness: below "
            f"AUROC {HIDDEN} on each: {_listed(blind, reached)}; above {CAUGHT} on each: {_listed(seen, reached)}."
        )


def _listed(detectors: list[_Key], reached: dict[_Key, pd.DataFrame]) -> str:
    return "; ".join(f"{_name(d)} ({_range(reached[d], 'auroc')})" for d in detectors) or "none"


def _range(rows: pd.DataFrame, column: str) -> str:
    low, high = rows[column].min(), rows[column].max()
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
