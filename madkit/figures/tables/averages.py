"""Averages over datasets with an interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from madkit.statistics.dataset_means import SHARES
from madkit.statistics.interval import Interval
from madkit.statistics.nested_seeds import nested_mean_interval

AUROC = ("auroc", "low", "high")
"""The columns of an AUROC and its interval."""

METHOD = (
    "95%, by a seeded hierarchical bootstrap: datasets are drawn with replacement, and the number of each "
    "drawn dataset varies by its own interval, which knows which prompts share a statement or a speaker; widened by "
    "Student's t, as few datasets say little about their spread. They speak about other datasets of the kind too; with "
    "one dataset they are about its prompts only."
)


class Average(NamedTuple):
    """The mean of a number over datasets with its 95% interval."""

    value: float
    low: float
    high: float
    n_datasets: int


def average(rows: pd.DataFrame, names: Sequence[str] = AUROC, limits: tuple[float, float] = SHARES) -> Average | None:
    """Average one detector over its datasets, and before that over the seeds of each dataset.

    Args:
        rows: one row per dataset or, with columns `dataset` and `seed`, one per dataset and seed; a row without the
            number, or whose interval is not known, is left out.
        names: the columns of the number and of the ends of its interval.
        limits: what the number can be at all: 0 to 1 for an AUROC and for a share, anything for nats.

    Returns:
        None if no dataset is left.
    """
    runs = runs_by_dataset(rows, names)
    if not runs:
        return None
    return Average(*nested_mean_interval(runs, limits=limits), n_datasets=len(runs))


def runs_by_dataset(rows: pd.DataFrame, names: Sequence[str] = AUROC) -> list[list[Interval]]:
    """The intervals of each dataset, one per seed.

    Args:
        rows: as `average` takes them.
        names: the columns of the number and of the ends of its interval.
    """
    # Plain lists: thousands of these are made, and pandas takes longer to select rows, or several columns at once, than
    # the rest to compute.
    numbers = [rows[name].to_numpy(float).tolist() for name in names]
    datasets = rows["dataset"].tolist() if "seed" in rows else range(len(rows))
    runs: dict[object, list[Interval]] = {}
    for dataset, *row in zip(datasets, *numbers, strict=True):
        if not any(map(math.isnan, row)):
            runs.setdefault(dataset, []).append(Interval(*row))
    return list(runs.values())
