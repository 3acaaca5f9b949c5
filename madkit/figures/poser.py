"""What the figures of model pairs share: the tables they read, names, and which number stands for a method."""

import pandas as pd

RESULTS, ROC, BEHAVIOUR = "poser/results.parquet", "poser/roc.parquet", "poser/behaviour.parquet"
#: The number of each method that stands for it: chosen beforehand, and not the best one.
MEASURE = {"kl": "mean", "p_misaligned": "mean", "log_volume": "", "mean_log_volume": ""}
NAMES = {
    "kl": "KL from baseline",
    "p_misaligned": "P(misaligned answer)",
    "log_volume": "- log volume",
    "mean_log_volume": "- mean of log volumes",
    "steering norm": "norm of the steering vector",
    "unperturbed p_misaligned": "P(misaligned answer), unperturbed",
}
CONTROL = "control"


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for a method: means over all coefficients, and what has no coefficient."""
    at = table["at"].fillna("")
    return table[(at == table["measure"].map(MEASURE)) | (table["method"] == CONTROL)]
