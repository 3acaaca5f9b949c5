"""A section per dataset: how the models do on it, and the prompts that surprise each detector most."""

from typing import Any

import numpy as np
import pandas as pd

from madkit.figures.drawing.detectors import first_and_rest, ordered
from madkit.figures.naming import CONTROL, detector_name, setting_place, with_setting
from madkit.figures.results.results import Results

MOST = 6  # prompts of each kind
_LONGEST = 700  # letters of a prompt
_SUBSETS = ("all", "agree", "disagree")


def dataset_sections(results: Results) -> list[dict[str, Any]]:
    """Of each tested dataset its name and, by model, quirkiness, AUROC of each detector, and surprising prompts."""
    whole = results.aggregate()
    tested = set(whole["dataset"])
    found = []
    for dataset in (name for name in results.datasets if name in tested):
        here = whole[whole["dataset"] == dataset]
        models = []
        for model in sorted(set(here["model"])):
            rows = here[here["model"] == model]
            models.append(
                {
                    "name": model,
                    "facts": _facts(results, model, dataset),
                    "table": _table(rows),
                    "prompts": _surprises(results, model, dataset, rows),
                }
            )
        found.append({"name": dataset, "models": models})
    return found


def _facts(results: Results, model: str, dataset: str) -> list[tuple[str, str]]:
    """Quirkiness and losses of one model and dataset, in words."""
    found = []
    for name, table in (("quirkiness coefficient", results.quirkiness), ("loss", results.losses)):
        part = table[(table["model"] == model) & (table["dataset"] == dataset)]
        for row in part.itertuples():
            which = str(getattr(row, "which", "")).replace("_", ", ").replace("alice", "Alice").replace("bob", "Bob")
            label = f"{name}, {which} labels" if which else name
            found.append((label, f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}] nats"))
    return found


def _table(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    head = ["detector", "setting", *_SUBSETS]
    own = rows[~rows["feature"].str.startswith(CONTROL)]
    cells = []
    for setting in sorted(set(own["setting"]), key=setting_place):
        part = own[own["setting"] == setting]
        for feature, score in ordered(zip(part["feature"], part["score"], strict=True)):
            one = part[(part["feature"] == feature) & (part["score"] == score)].set_index("subset")
            numbers = [_interval(one.loc[name]) if name in one.index else "-" for name in _SUBSETS]
            cells.append([detector_name(feature, score), setting, *numbers])
    return head, cells


def _interval(row: pd.Series) -> str:
    return f"{row['auroc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _surprises(results: Results, model: str, dataset: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """For each of the main detectors: normal prompts with a high score, and anomalous ones with a low score."""
    scores = results.scores(model, dataset)
    if scores.empty or "prompt" not in scores:
        return []
    found = []
    for feature, score, setting in first_and_rest(rows)[0]:
        own = scores[(scores["feature"] == feature) & (scores["score"] == score)]
        own = own[np.isfinite(own["value"].astype(float))]
        bob = own["character"] == "Bob"
        if bob.all() or not bob.any():
            continue
        normal = own[~bob].sort_values(["value", "row"], ascending=[False, True])
        anomalous = own[bob].sort_values(["value", "row"])
        found.append(
            {
                "detector": with_setting(detector_name(feature, score), setting),
                "normal": [
                    _prompt(row, (own.loc[bob, "value"] < row["value"]).mean()) for _, row in normal[:MOST].iterrows()
                ],
                "anomalous": [
                    _prompt(row, (own.loc[~bob, "value"] > row["value"]).mean())
                    for _, row in anomalous[:MOST].iterrows()
                ],
            }
        )
    return found


def _prompt(row: pd.Series, share: float) -> dict[str, Any]:
    """One prompt as the page shows it: text, score, the share of the other kind it passes for, labels, answer."""
    text = str(row["prompt"])
    odds = row["log_odds"]
    return {
        "text": text if len(text) <= _LONGEST else text[:_LONGEST] + " [...]",
        "score": f"{row['value']:.4g}",
        "share": f"{share:.0%}",
        "label": "Yes" if row["label"] else "No",
        "agree": "agree" if row["agree"] else "opposed",
        "odds": "" if pd.isna(odds) else f"{odds:+.1f}",
    }
