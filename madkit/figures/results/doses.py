"""Detectors along one training: what each reached at each dose, and how strong the quirk is when it reaches a level."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from madkit.figures.results.results import Results, grouped
from madkit.statistics.crossing import crossing
from madkit.statistics.interval import Interval

LEVELS = (("auroc", 0.9), ("tpr", 0.5))
"""What a detector is asked to reach: AUROC, and the share of anomalous prompts caught at 1% false alarms."""
_ENDS = {"auroc": ("auroc", "low", "high"), "tpr": ("tpr", "tpr_low", "tpr_high")}
QUIRKINESS = ("quirkiness", "quirkiness_low", "quirkiness_high")


class Threshold(NamedTuple):
    """The quirkiness, in nats, at which a detector reaches a level on one model and dataset."""

    model: str
    dataset: str
    feature: str
    score: str
    statistic: str
    level: float
    at: Interval
    """Infinite where it is never reached, minus infinity where it is from the first dose on."""
    n_doses: int


def dose_points(results: Results) -> pd.DataFrame:
    """One row per model, dataset, dose and online detector: all test prompts, mean over layers.

    Returns:
        As `Results.aggregated`, with step, quirkiness, quirkiness_low and quirkiness_high.
    """
    parts = []
    for step, dose in results.doses.items():
        rows = dose.aggregated()
        rows = rows[(rows["subset"] == "all") & (rows["setting"] == "online") & ~rows["control"]]
        if len(dose.quirkiness):
            names = dict(zip(("value", "low", "high"), QUIRKINESS, strict=True))
            found = dose.quirkiness.rename(columns=names)
            parts.append(rows.merge(found, on=["model", "dataset"]).assign(step=step))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["model", "dataset"])


def intervals(rows: pd.DataFrame, statistic: str) -> list[Interval]:
    """The values of a statistic with their intervals, row by row."""
    return [Interval(*row) for row in rows[list(_ENDS[statistic])].astype(float).to_numpy().tolist()]


def thresholds(points: pd.DataFrame) -> Iterator[Threshold]:
    """At which quirkiness each detector reaches each of `LEVELS`; those with a single dose are left out."""
    for (model, dataset, feature, score), part in grouped(points, "model", "dataset", "feature", "score"):
        for statistic, level in LEVELS:
            if not set(_ENDS[statistic]) <= set(part):
                continue
            known = part.dropna(subset=[*_ENDS[statistic], *QUIRKINESS])
            if len(known) < 2:
                continue
            doses = [Interval(*row) for row in known[list(QUIRKINESS)].to_numpy(float).tolist()]
            at = crossing(doses, intervals(known, statistic), level)
            yield Threshold(model, dataset, feature, score, statistic, level, at, len(known))
