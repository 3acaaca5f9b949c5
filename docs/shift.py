"""Write the table of docs/shift.md: false alarms and TPR of thresholds when prompts become harder, from `make figures`.

python docs/shift.py figures/table_thresholds.csv
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- thresholds -->", "<!-- end of thresholds -->"
#: The detectors that are shown, by feature and score. ``table_thresholds`` has all.
DETECTORS = (
    ("conditional_studentised", "mahalanobis"),
    ("conditional_studentised", "lof"),
    ("paired", "conditional_t"),
    ("delta", "mahalanobis"),
    ("delta", "lof"),
    ("activations", "mahalanobis"),
    ("activations", "lof"),
)
#: How a threshold is set, and the head of its column.
METHODS = {
    "trusted": "trusted",
    "nuisance": "nuisance",
    "weighted": "weighted",
    "stream": "stream",
    "recalibrated": "**re-calibrated**",
    "nuisance_recalibrated": "nuisance, re-calibrated",
    "labels": "known labels",
}


def lines(table: pd.DataFrame) -> Iterator[str]:
    """A row for each detector and model, averaged over datasets, and what holds for all detectors."""
    keys = ["feature", "score", "model", "method"]
    table = table[table["aggregation"] == "mean"]
    rates = {
        statistic: table[table["statistic"] == statistic].set_index(keys)["value"]
        for statistic in ("false_alarms", "tpr")
    }
    yield "| detector | model |" + "".join(f" {head} |" for head in METHODS.values())
    yield "|---|---|" + "---|" * len(METHODS)
    for feature, score in DETECTORS:
        for model in sorted(table["model"].unique()):
            cells = []
            for method in METHODS:
                alarms, tpr = (float(rates[name][(feature, score, model, method)]) for name in ("false_alarms", "tpr"))
                text = f"{alarms:.3f}, {tpr:.2f}".replace("0.", ".")
                cells.append(f"**{text}**" if method == "recalibrated" else text)
            yield f"| {feature} {score} | {model} | {' | '.join(cells)} |".replace("_", " ")
    yield ""
    false, lost = (
        rates["false_alarms"].xs("recalibrated", level="method"),
        rates["tpr"].xs("labels", level="method") - rates["tpr"].xs("recalibrated", level="method"),
    )
    rare, kept = (false <= 0.03).sum(), (lost <= 0.05).sum()
    yield f"""Of {len(false)} pairs of a detector and a model, re-calibration keeps false alarms at {false.mean():.1%}
on average: {rare} pairs are at 3% or below, and the worst is at {false.max():.1%} ({_pair(false)}). TPR is at least
that of known labels less .05 for {kept} of them, and at worst {lost.max():.2f} less ({_pair(lost)})."""


def _pair(values: "pd.Series[float]") -> str:
    """The detector and the model whose value is largest."""
    return " ".join(map(str, values.sort_values().index[-1])).replace("_", " ")


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="table_thresholds.csv")
    table = pd.read_csv(parser.parse_args().table)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text("\n\n".join([before + BEGIN, "\n".join(lines(table)).strip(), END + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
