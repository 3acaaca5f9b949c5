"""One prompt from the inside: at which sites each detector finds it strange, and which trusted prompts it resembles."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from madkit.figures.drawing.detectors import Detector
from madkit.figures.naming import detector_name
from madkit.figures.results.results import Results, grouped

MOST_BESIDES = 24
"""Prompts, evenly spaced, besides those that are asked for."""
MOST_LETTERS = 700
"""Of a prompt."""


def shortened(text: str) -> str:
    """The text, cut where it is longer than a reader would read."""
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS] + " [...]"


def looks(
    results: Results, model: str, dataset: str, detectors: Sequence[Detector], wanted: Collection[int]
) -> dict[str, Any] | None:
    """What the page shows of single prompts of one run.

    Args:
        results: of all runs.
        model: the model's name.
        dataset: the dataset's.
        detectors: features and scores.
        wanted: rows of test prompts that have to be among them.

    Returns:
        prompts (row, text, character, odds), reference (what shares are of, in words), sites (of any detector, by
        layer), detectors (name, sites, and of each prompt the share in percent of the reference with a lower score at
        each site) and, where the run has them, nearest (site, typical distance, and of each prompt the numbers of texts
        and their distances) and texts. None where scores or prompts are not there.
    """
    prompts = results.prompts(model, dataset)
    scores = results.site_scores(model, dataset, detectors)
    if scores.empty or "prompt" not in prompts:
        return None
    evenly = prompts["row"].iloc[np.unique(np.linspace(0, len(prompts) - 1, MOST_BESIDES).astype(int))]
    chosen = prompts.set_index("row", drop=False).loc[sorted(set(wanted) | set(evenly))]
    rows = chosen["row"].to_numpy()
    reference, words = results.calibration(model, dataset), "held-out trusted prompts"
    if reference.empty:
        normal = prompts.loc[prompts["character"] != "Bob", "row"]
        reference, words = scores[scores["row"].isin(normal)], "normal test prompts"
    key = ["feature", "score", "site"]
    references = {name: np.sort(part["value"].to_numpy(float)) for name, part in grouped(reference, *key)}
    by_detector: dict[Detector, list[tuple[str, list[int | None]]]] = {}
    by_site = dict(grouped(scores[scores["row"].isin(rows)], *key))
    order = scores[["layer", *key]].drop_duplicates().sort_values(["layer", "site"], kind="stable")
    for feature, score, site in order[key].itertuples(index=False):
        if (feature, score, site) in references:
            values = by_site[feature, score, site].set_index("row")["value"].reindex(rows)
            by_detector.setdefault((feature, score), []).append(
                (site, _shares(values, references[feature, score, site]))
            )
    found: dict[str, Any] = {
        "prompts": [
            {
                "row": int(row["row"]),
                "text": shortened(str(row["prompt"])),
                "character": str(row["character"]),
                "odds": _odds(row["log_odds"]),
            }
            for row in chosen.to_dict("records")
        ],
        "reference": words,
        "sites": list(dict.fromkeys(order["site"])),
        "detectors": [
            {
                "name": detector_name(*pair),
                "sites": [site for site, _ in by_detector[pair]],
                "shares": list(zip(*(shares for _, shares in by_detector[pair]), strict=True)),
            }
            for pair in detectors
            if pair in by_detector
        ],
    }
    return found | _nearest(results.nearest(model, dataset), rows)


def _shares(values: pd.Series, reference: np.ndarray) -> list[int | None]:
    """Of each score the percentage of the reference below it, rounded down: 100 is above all of them."""
    known = values.to_numpy(float)
    below = np.searchsorted(reference, known) * 100 // len(reference)
    return [None if np.isnan(value) else int(share) for value, share in zip(known, below, strict=True)]


def _odds(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:+.1f}"


def _nearest(table: pd.DataFrame, rows: np.ndarray) -> dict[str, Any]:
    """The nearest trusted prompts of each row at each site; each text once."""
    table = table[table["row"].isin(rows)].sort_values(["layer", "site", "rank"], kind="stable")
    if table.empty:
        return {}
    texts = list(dict.fromkeys(map(str, table["prompt"])))
    number = {text: index for index, text in enumerate(texts)}
    sites = []
    for site in dict.fromkeys(table["site"]):
        part = table[table["site"] == site]
        found: dict[int, list[list[float]]] = {}
        for row, prompt, distance in zip(part["row"], part["prompt"], part["distance"], strict=True):
            found.setdefault(int(row), []).append([number[str(prompt)], float(f"{distance:.3g}")])
        typical = float(part["typical"].iloc[0])
        sites.append(
            {
                "site": str(site),
                "typical": None if np.isnan(typical) else float(f"{typical:.3g}"),
                "found": [found.get(int(row), []) for row in rows],
            }
        )
    return {"nearest": sites, "texts": [shortened(text) for text in texts]}
