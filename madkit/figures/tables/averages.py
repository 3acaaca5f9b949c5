"""Averages over datasets with an interval."""

from typing import NamedTuple

import pandas as pd

from madkit.statistics.dataset_means import mean_interval
from madkit.statistics.interval import Interval

METHOD = (
    "95%, by a seeded hierarchical bootstrap: datasets are drawn with replacement, and the number of each "
    "drawn dataset varies by its own interval, which knows which prompts share a statement or a speaker; widened by "
    "Student's t, as few datasets say little about their spread. They speak about other datasets of the kind too; with "
    "one dataset they are about its prompts only."
)


class Average(NamedTuple):
    """The mean AUROC over datasets with its 95% interval."""

    value: float
    low: float
    high: float
    n_datasets: int


def average(rows: pd.DataFrame) -> Average | None:
    """Average one detector over its datasets.

    Args:
        rows: one row per dataset with auroc, low, high; a dataset without an AUROC is left out.

    Returns:
        None if no dataset is left.
    """
    numbers = rows.dropna(subset=["auroc"])[["auroc", "low", "high"]].to_numpy(float)
    if not len(numbers):
        return None
    return Average(*mean_interval([Interval(*row) for row in numbers.tolist()]), n_datasets=len(numbers))
