"""Measures of model pairs, as several figures need them: their files, names, and the number that represents each."""

import pandas as pd

RESULTS, ROC, BEHAVIOUR = "poser/results.parquet", "poser/roc.parquet", "poser/behaviour.parquet"
MEASURE_NAMES = {
    "kl": "KL from baseline",
    "p_misaligned": "P(misaligned answer)",
    "log_volume": "- log volume",
    "mean_log_volume": "- mean of log volumes",
    "accuracy gain": "largest gain in accuracy",
    "steering norm": "norm of the steering vector",
    "activation norm": "norm of activations",
    "unperturbed p_misaligned": "P(misaligned answer), unperturbed",
}
_REPRESENTATIVE = {
    "kl": "mean",
    "p_misaligned": "mean",
    "log_volume": "",
    "mean_log_volume": "",
    "accuracy gain": "largest",
}
"""The number of each measure that represents it in figures: chosen beforehand, and not the best one."""
_CONTROL = "control"


def representative_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that represent a method: means over all coefficients, and what has no coefficient."""
    at = table["at"].fillna("")
    return table[(at == table["measure"].map(_REPRESENTATIVE)) | (table["method"] == _CONTROL)]


def conclusions(table: pd.DataFrame) -> list[str]:
    """In words, what tells the models apart: numbers whose interval over shared models leaves out one half."""
    rows = representative_rows(table)
    verdicts = {
        "higher for misaligned models": rows["low"] > 0.5,
        "lower for misaligned models, so wrong in more than half of the pairs": rows["high"] < 0.5,
        "not told apart from chance": (rows["low"] <= 0.5) & (rows["high"] >= 0.5),
    }
    return [f"{verdict}: {'; '.join(_methods(rows[holds]))}." for verdict, holds in verdicts.items() if holds.any()]


def _methods(rows: pd.DataFrame) -> list[str]:
    """Method by method, its measures and their accuracies."""
    methods = []
    for method, measured in rows.groupby("method", sort=False):
        pairs = zip(measured["measure"], measured["accuracy"], strict=True)
        accuracies = ", ".join(f"{MEASURE_NAMES.get(measure, measure)} {accuracy:.2f}" for measure, accuracy in pairs)
        methods.append(f"*{method}* ({accuracies})")
    return methods
