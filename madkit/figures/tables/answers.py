"""Where what a detector finds is in part what the model answers: AUROC within answers beside the plain one."""

import pandas as pd

from madkit.figures.tables.averages import Average, average


def within_average(rows: pd.DataFrame) -> Average | None:
    """The average over datasets of one detector's AUROC within answers.

    Args:
        rows: one row per dataset with auroc_within and its interval; a dataset whose prompts cannot be compared is
            left out.
    """
    return average(rows, ("auroc_within", "auroc_within_low", "auroc_within_high"))


def differing(rows: pd.DataFrame) -> pd.Series:
    """Of each row, whether the two differ by more than the interval of their difference."""
    found: pd.Series = (rows["within_difference_low"] > 0) | (rows["within_difference_high"] < 0)
    return found
