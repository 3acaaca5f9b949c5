"""A section per dataset: how the models do on it, and the prompts that surprise each detector most."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from madkit.figures.drawing.detectors import main_and_further, ordered_detectors
from madkit.figures.html.looks import looks, shortened
from madkit.figures.naming import detector_name, setting_order, with_setting
from madkit.figures.results.results import OWN_ANSWER, Results, grouped
from madkit.figures.results.selection import first_panels
from madkit.figures.tables.answers import differing

MOST_PROMPTS = 6
"""Prompts of each character."""
_SUBSETS = ("all", "agree", "disagree")


def dataset_sections(results: Results) -> list[dict[str, Any]]:
    """Of each tested dataset its name and, by model, quirkiness, AUROC of each detector, and surprising prompts."""
    results = first_panels(results)
    aggregated = results.aggregated(own_answer=True)
    tested = set(aggregated["dataset"])
    sections = []
    for dataset in (name for name in results.datasets if name in tested):
        of_dataset = aggregated[aggregated["dataset"] == dataset]
        models = []
        for model in sorted(set(of_dataset["model"])):
            rows = of_dataset[of_dataset["model"] == model]
            models.append(
                {
                    "name": model,
                    "facts": _facts(results, model, dataset),
                    "table": _table(rows),
                    "prompts": (prompts := _surprises(results, model, dataset, rows)),
                    "looks": _looks(results, model, dataset, rows, prompts),
                }
            )
        sections.append({"name": dataset, "models": models})
    return sections


def _facts(results: Results, model: str, dataset: str) -> list[tuple[str, str]]:
    """Quirkiness and losses of one model and dataset, in words."""
    facts = []
    for name, table in (("quirkiness coefficient", results.quirkiness), ("loss", results.losses)):
        part = table[(table["model"] == model) & (table["dataset"] == dataset)]
        for row in part.itertuples():
            which = str(getattr(row, "which", "")).replace("_", ", ").replace("alice", "Alice").replace("bob", "Bob")
            label = f"{name}, {which} labels" if which else name
            facts.append((label, f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}] nats"))
    return facts


def _table(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    head = ["detector", "setting", *_SUBSETS, "within answers, all", "of pairs"]
    rows = rows[~rows["control"]].assign(differs=differing(rows))
    cells = []
    for setting in sorted(set(rows["setting"]), key=setting_order):
        part = rows[rows["setting"] == setting]
        found = {(row["feature"], row["score"], row["subset"]): row for row in part.to_dict("records")}
        for pair in ordered_detectors(zip(part["feature"], part["score"], strict=True)):
            numbers = [_interval(found[*pair, name]) if (*pair, name) in found else "-" for name in _SUBSETS]
            cells.append([detector_name(*pair), setting, *numbers, *_within(found.get((*pair, "all")))])
    return head, cells


def _within(row: Mapping[Hashable, Any] | None) -> tuple[str, str]:
    """AUROC within answers of all prompts, bold where it differs from the plain one, and the share of pairs."""
    if row is None:
        return "-", "-"
    share = f"{row['within_share']:.0%}"
    if pd.isna(row["auroc_within"]):
        return "-", share
    cell = f"{row['auroc_within']:.3f} [{row['auroc_within_low']:.3f}, {row['auroc_within_high']:.3f}]"
    return f"**{cell}**" if row["differs"] else cell, share


def _interval(row: Mapping[Hashable, Any]) -> str:
    return f"{row['auroc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _surprises(results: Results, model: str, dataset: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """For each of the main detectors: normal prompts with a high score, and anomalous ones with a low score."""
    detectors = main_and_further(rows[rows["setting"] != OWN_ANSWER])[0]
    scores = results.scores(model, dataset, [(feature, score) for feature, score, _ in detectors])
    if scores.empty or "prompt" not in scores:
        return []
    columns = ["feature", "score", "row", "value", "character", "prompt", "label", "agree", "log_odds"]
    by_detector = dict(grouped(scores.loc[~scores["control"], columns], "feature", "score"))
    surprises = []
    for feature, score, setting in detectors:
        part = by_detector.get((feature, score), scores.iloc[:0])
        part = part[np.isfinite(part["value"].to_numpy(float))]
        values, bob = part["value"].to_numpy(float), (part["character"] == "Bob").to_numpy()
        if bob.all() or not bob.any():
            continue
        ranked = np.lexsort((part["row"].to_numpy(), values))
        falling = np.lexsort((part["row"].to_numpy(), -values))
        normal, anomalous = falling[~bob[falling]][:MOST_PROMPTS], ranked[bob[ranked]][:MOST_PROMPTS]
        surprises.append(
            {
                "detector": with_setting(detector_name(feature, score), setting),
                "normal": [
                    _prompt(row, (values[bob] < row["value"]).mean()) for row in part.iloc[normal].to_dict("records")
                ],
                "anomalous": [
                    _prompt(row, (values[~bob] > row["value"]).mean())
                    for row in part.iloc[anomalous].to_dict("records")
                ],
            }
        )
    return surprises


def _looks(
    results: Results, model: str, dataset: str, rows: pd.DataFrame, surprises: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Those prompts, and some others, from the inside."""
    online = rows[rows["setting"] != OWN_ANSWER]
    detectors = dict.fromkeys((feature, score) for feature, score, _ in main_and_further(online)[0])
    wanted = {prompt["row"] for one in surprises for kind in ("normal", "anomalous") for prompt in one[kind]}
    return looks(results, model, dataset, list(detectors), wanted) if surprises else None


def _prompt(row: Mapping[Hashable, Any], share: float) -> dict[str, Any]:
    """One prompt as the page shows it.

    Args:
        row: of the prompt.
        share: of the other character's prompts, those on whose wrong side its score is.
    """
    odds = row["log_odds"]
    return {
        "row": int(row["row"]),
        "text": shortened(str(row["prompt"])),
        "score": f"{row['value']:.4g}",
        "share": f"{share:.0%}",
        "label": "unknown" if pd.isna(row["label"]) else "Yes" if row["label"] else "No",
        "agree": "unknown" if pd.isna(row["agree"]) else "agree" if row["agree"] else "opposed",
        "odds": "" if pd.isna(odds) else f"{odds:+.1f}",
    }
