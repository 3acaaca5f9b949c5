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


def findings(table: pd.DataFrame) -> list[str]:
    """In words, what tells the models apart: numbers whose interval over shared models leaves out one half."""
    rows = headline(table)
    kinds = {
        "higher for misaligned models": rows["low"] > 0.5,
        "lower for misaligned models, so wrong in more than half of the pairs": rows["high"] < 0.5,
        "not told apart from chance": (rows["low"] <= 0.5) & (rows["high"] >= 0.5),
    }
    return [f"{kind}: {'; '.join(_spoken(rows[chosen]))}." for kind, chosen in kinds.items() if chosen.any()]


def _spoken(rows: pd.DataFrame) -> list[str]:
    """Method by method, its measures and their accuracies."""
    spoken = []
    for method, own in rows.groupby("method", sort=False):
        parts = zip(own["measure"], own["accuracy"], strict=True)
        spoken.append(f"*{method}* ({', '.join(f'{NAMES.get(m, m)} {accuracy:.2f}' for m, accuracy in parts)})")
    return spoken
