"""The published numbers that the tables show beside ours."""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import pandas as pd

LLAMA = "Llama-3.1-8B"
MISTRAL = "Mistral-7B-v0.1"


def nearest_model(model: str) -> str:
    """The published model of the same family as ours; Llama stands for the families that were not published.

    Example:
        >>> nearest_model("tiny-mistral") == MISTRAL, nearest_model("tiny-llama") == LLAMA
        (True, True)
    """
    return MISTRAL if "mistral" in model.lower() else LLAMA


class PublishedAUROC(NamedTuple):
    """A published AUROC, aggregated over layers and averaged over datasets."""

    value: float
    n_datasets: int


@cache
def published_auroc(
    model: str, detector: str, setting: str, subset: str, datasets: frozenset[str] | None = None
) -> PublishedAUROC | None:
    """The published average of a detector.

    Args:
        model: `LLAMA` or `MISTRAL`.
        detector: the published name, such as ``"activations lof"``.
        setting: ``"online"`` or ``"offline"``.
        subset: ``"all"``, ``"agree"`` or ``"disagree"``.
        datasets: average over these only, as far as they are published; None: over all of the study.

    Returns:
        The printed average where the source prints one, else the mean of its datasets; None if there is none.

    Example:
        >>> published_auroc(LLAMA, "activations lof", "online", "all")
        PublishedAUROC(value=0.762, n_datasets=10)
        >>> published_auroc(LLAMA, "activations lof", "online", "all", frozenset({"addition", "nli"}))
        PublishedAUROC(value=0.779, n_datasets=2)
    """
    rows = _by_detector().get((model, detector, setting), _numbers()[:0]).dropna(subset=[subset])
    printed = rows[rows["dataset"] == "average"]
    if datasets is None and not printed.empty:
        return PublishedAUROC(float(printed[subset].iloc[0]), int(printed["n_datasets"].iloc[0]))
    each = rows[rows["dataset"] != "average"]
    if datasets is not None:
        each = each[each["dataset"].isin(datasets)]
    return None if each.empty else PublishedAUROC(round(float(each[subset].mean()), 6), len(each))


@cache
def is_published(detector: str, setting: str) -> bool:
    """Whether some study gives a number for a detector, by its published name."""
    table = _numbers()
    return bool(((table["detector"] == detector) & (table["setting"] == setting)).any())


def published_sources() -> list[str]:
    """Where the numbers come from, as `model: source`."""
    pairs = _numbers()[["model", "source"]].drop_duplicates()
    return [f"{model}: {source}" for model, source in pairs.itertuples(index=False)]


@cache
def _by_detector() -> dict[tuple[object, ...], pd.DataFrame]:
    """The numbers of each model, detector and setting: they are looked up for every row of every table."""
    keys = ["model", "detector", "setting"]
    return {tuple(key): rows for key, rows in _numbers().groupby(keys, sort=False)}


@cache
def _numbers() -> pd.DataFrame:
    with (files("madkit.figures.published") / "numbers.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream)
