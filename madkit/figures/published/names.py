"""What the studies call features, scores, detectors and datasets, and the order of their tables."""

from functools import cache
from importlib.resources import files

import pandas as pd


@cache
def published_name(part: str, name: str) -> str | None:
    """What the studies call something; None if they have no name for it.

    Args:
        part: ``"feature"``, ``"score"``, ``"detector"`` or ``"dataset"``.
        name: its name in result tables; of a detector ``feature/score``.

    Returns:
        The name; of a feature the names of its detectors, with ``{score}`` for the score.
    """
    rows = _names(part)
    return str(rows.loc[name, "published"]) if name in rows.index else None


@cache
def published_order(part: str) -> tuple[str, ...]:
    """The names of features, scores or datasets in the order of the studies' tables.

    Example:
        >>> published_order("score")[:3]
        ('mahalanobis', 'lof', 'laplace_nll')
    """
    return tuple(map(str, _names(part)["position"].dropna().sort_values().index))


def position(part: str, name: str) -> tuple[int, str]:
    """A sort key: the order of the studies' tables, then everything else by name.

    Example:
        >>> sorted(["nli", "my_dataset", "addition"], key=lambda name: position("dataset", name))
        ['addition', 'nli', 'my_dataset']
    """
    order = published_order(part)
    return order.index(name) if name in order else len(order), name


@cache
def _names(part: str) -> pd.DataFrame:
    with (files("madkit.figures.published") / "names.csv").open(encoding="utf-8") as stream:
        table = pd.read_csv(stream)
    return table[table["part"] == part].set_index("name")
