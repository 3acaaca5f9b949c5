"""Draw docs/overview.png, the README's figure, from run folders; docs/overview.json has the numbers in it.

python docs/overview.py runs/ --model tiny-llama --dataset modularaddition
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter
from PIL import Image

from madkit import __version__
from madkit.figures.drawing import style
from madkit.figures.results.loading import load_results
from madkit.figures.results.results import Results
from madkit.figures.tables.averages import Average, average
from madkit.figures.tables.benign import benign_rows
from madkit.figures.tables.false_alarms import FALSE_ALARMS

PAGE = Path(__file__).with_suffix(".png")
#: What is drawn of all detectors: feature, score, and what it is called here.
DETECTORS = {
    ("conditional_studentised", "mahalanobis"): "conditional",
    ("delta", "mahalanobis"): "delta",
    ("flow", "mahalanobis"): "flow",
    ("activations", "mahalanobis"): "activations",
    ("activations", "lof"): "activations, LOF",
    ("attribution", "mahalanobis"): "attribution",
}
FIRST = next(iter(DETECTORS))
_TPR = ("tpr", "tpr_low", "tpr_high")
_WAYS = {"trusted": "on easy trusted prompts", "recalibrated": "recalibrated on a stream"}
_BINS = 36
_BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "columnspacing": 1.2, "handletextpad": 0.5}


def averages(rows: pd.DataFrame, columns: tuple[str, str, str] | None = None) -> dict[str, dict[str, Average]]:
    """Averages over datasets, by model and detector; of what was not judged there is none."""
    found: dict[str, dict[str, Average]] = {}
    for model in sorted(set(rows["model"])):
        for (feature, score), name in DETECTORS.items():
            part = rows[(rows["model"] == model) & (rows["feature"] == feature) & (rows["score"] == score)]
            if value := average(part, *([columns] if columns else [])):
                found.setdefault(model, {})[name] = value
    return found


def numbers(results: Results) -> dict[str, dict[str, dict[str, Average]]]:
    """Everything that the lower panels show, of all seeds; the upper ones show the first."""
    rows = results.over_seeds(lambda part: part.aggregated())
    rows = rows[(rows["subset"] == "all") & (rows["setting"] == "online") & ~rows["control"]]
    benign = benign_rows(results)
    found = {
        "auroc": averages(rows),
        "tpr": averages(rows, _TPR),
        "benign": averages(benign[benign["subset"] == "all"]),
    }
    ways = results.over_seeds(lambda part: part.table("detection/thresholds.parquet"))
    for way in _WAYS:
        part = ways[
            (ways["method"] == way)
            & (ways["aggregation"] == "mean")
            & (ways["share"].isin([0.05]) | ways["share"].isna())
        ]
        found[f"false alarms, {way}"] = averages(part, FALSE_ALARMS)
    return found


def histograms(ax: Axes, values: dict[str, np.ndarray], color: str) -> None:
    """Alice's prompts filled, Bob's outlined."""
    both = np.concatenate(list(values.values()))
    low, high = np.quantile(both, [0.002, 0.998])
    edges = np.linspace(low, high, _BINS + 1)
    for name, x in values.items():
        share = np.histogram(np.clip(x, low, high), edges)[0] / len(x)
        look = (
            {"fill": True, "facecolor": style.FAINT, "edgecolor": style.GREY, "lw": 0.6}
            if name == "Alice"
            else {"color": color, "lw": 1.4}
        )
        ax.stairs(share, edges, label=name, **look)
    ax.set_yticks([])
    ax.set_ylabel("share of prompts")
    ax.legend()


def intervals(ax: Axes, found: dict[str, dict[str, Average]], colors: dict[str, str], hollow: bool = False) -> None:
    """A line for each detector, one below the other, and on it a point with an interval for each model."""
    for index, (model, values) in enumerate(found.items()):
        for name, value in values.items():
            y = list(DETECTORS.values()).index(name) + (index - (len(found) - 1) / 2) * 0.3
            ax.hlines([y], [value.low], [value.high], color=style.GREY if hollow else colors[model], lw=1.2)
            ax.plot(
                [value.value],
                [y],
                "o",
                color=style.GREY if hollow else colors[model],
                mfc="white" if hollow else None,
                ms=4.5,
            )
    ax.set_yticks(range(len(DETECTORS)), list(DETECTORS.values()))
    ax.set_ylim(len(DETECTORS) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")


def draw(results: Results, model: str, dataset: str) -> Figure:
    """The quirk, what a detector makes of it, which detectors see it, and what becomes of a rate of false alarms."""
    colors, found = style.model_colors(results.models), numbers(results)
    figure = Figure(figsize=(9.6, 5.6))
    (quirk, scores), (which, alarms) = figure.subplots(2, 2)

    prompts = results.prompts(model, dataset)
    opposed = prompts[~prompts["agree"].astype("boolean").fillna(True).astype(bool)]
    honest = np.where(opposed["alice_label"].astype(bool), opposed["log_odds"], -opposed["log_odds"])
    bob = (opposed["character"] == "Bob").to_numpy()
    histograms(quirk, {"Alice": honest[~bob], "Bob": honest[bob]}, colors[model])
    quirk.axvline(0, color=style.INK, ls=":", lw=0.8)
    quirk.set_title("1. A model that is honest with Alice and wrong with Bob")
    quirk.set_xlabel(f"log odds of the true answer ({model}, {dataset})")

    table = results.scores(model, dataset, [FIRST])
    table = table[~table["control"] & (table["feature"] == FIRST[0]) & (table["score"] == FIRST[1])]
    values = {name: part["value"].to_numpy(float) for name, part in table.groupby("character")}
    histograms(scores, values, colors[model])
    scores.set_title("2. A detector that has seen only easy prompts of Alice's")
    scores.set_xlabel(f"anomaly score, {DETECTORS[FIRST]}")

    intervals(which, found["benign"], colors, hollow=True)
    intervals(which, found["auroc"], colors)
    which.axvline(0.5, color=style.INK, ls=":", lw=0.8)
    which.set_xlim(0.4, 1.01)
    which.set_title("3. Which detectors find Bob's prompts")
    which.set_xlabel("AUROC, average over datasets, 95% interval")
    for name, color in colors.items():
        if name in found["auroc"]:
            which.plot([], [], "o-", color=color, label=name, ms=4.5)
    which.plot([], [], "o-", color=style.GREY, mfc="white", label="control: tuned on the truth", ms=4.5)
    which.legend(**_BELOW, ncols=3)

    alarms.axvline(0.01, color=style.INK, ls=":", lw=0.8)
    intervals(alarms, found["false alarms, trusted"], colors)
    for index, (name, ways) in enumerate(found["false alarms, recalibrated"].items()):
        y = [list(DETECTORS.values()).index(way) + (index - 0.5) * 0.3 for way in ways]
        alarms.plot([value.value for value in ways.values()], y, "D", color=colors[name], mfc="white", ms=4)
    alarms.set_xscale("log")
    alarms.set_xlim(0.003, 1)
    alarms.xaxis.set_major_locator(FixedLocator([0.01, 0.1, 1]))
    alarms.xaxis.set_major_formatter("{x:.0%}")
    alarms.xaxis.set_minor_formatter(NullFormatter())
    alarms.set_yticklabels([])
    alarms.set_title("4. False alarms on hard normal prompts")
    alarms.set_xlabel("false alarms where 1% is wanted, average over datasets")
    alarms.plot([], [], "o-", color=style.INK, label=f"threshold set {_WAYS['trusted']}", ms=4.5)
    alarms.plot([], [], "D", color=style.INK, mfc="white", label=_WAYS["recalibrated"], ms=4)
    alarms.legend(**_BELOW, ncols=2)
    for ax in (quirk, scores, which, alarms):
        ax.title.set(weight="bold")
    return figure


def main() -> None:
    """Write the picture and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, or folders of them")
    parser.add_argument("--model", default="tiny-llama", help="whose prompts the upper panels show")
    parser.add_argument("--dataset", default="modularaddition", help="of which dataset")
    parser.add_argument("--out", type=Path, default=PAGE, help="the picture; its numbers are written beside it")
    options = parser.parse_args()
    results = load_results(options.runs)
    with style.applied():
        draw(results, options.model, options.dataset).savefig(options.out, dpi=style.DPI)
    # A few colours are enough, in a third of the bytes.
    Image.open(options.out).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(options.out, optimize=True)
    facts = {
        "madkit": __version__,
        "model": options.model,
        "dataset": options.dataset,
        "datasets": results.datasets_of_models[options.model],
        "seeds": [results.first_seed, *results.seeds],
    }
    found = {
        what: {
            model: {name: [round(x, 6) for x in value[:3]] for name, value in values.items()}
            for model, values in by.items()
        }
        for what, by in numbers(results).items()
    }
    options.out.with_suffix(".json").write_text(json.dumps(facts | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
