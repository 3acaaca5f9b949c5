"""Rows that belong together: several prompts of one statement, several statements of one speaker."""

from collections.abc import Sequence
from functools import cached_property, reduce
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from madkit.errors import DataError

#: One id per row, or several such lists for groupings that cross, in a tuple or list: (statements, speakers).
Clusters: TypeAlias = ArrayLike | Sequence[object] | Sequence[ArrayLike] | pd.Series
Codes: TypeAlias = NDArray[np.int64]


class Groupings(tuple[Codes, ...]):
    """Groupings of the same rows as `cluster_codes` numbers them, checked; what follows from them is computed once.

    Statistics that are given these as their `clusters` take them as they are, so that many scores of the same rows
    share the work.
    """

    @cached_property
    def cells(self) -> Codes:
        """Rows that belong together by all groupings at once."""
        return reduce(lambda a, b: np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1], self)


def cluster_codes(clusters: Clusters | None, n: int) -> Groupings:
    """Each grouping as numbers 0, 1, ... in the order in which its ids appear; no grouping for None.

    Args:
        clusters: (n,) ids of any kind, or several such lists; or what this function has returned for them.
        n: number of rows.

    Raises:
        DataError: there is not one id per row, or an id is missing.

    Example:
        >>> [codes.tolist() for codes in cluster_codes((["q2", "q1", "q2"], ["Zoe", "Zoe", "Al"]), 3)]
        [[0, 1, 0], [0, 0, 1]]
    """
    if clusters is None:
        return Groupings()
    if isinstance(clusters, Groupings) and all(len(codes) == n for codes in clusters):
        return clusters
    groupings: Sequence[object]
    if _is_one(clusters):
        groupings = [clusters]
    else:
        groupings = list(clusters)  # type: ignore[arg-type]
        if not groupings:
            raise DataError("clusters is empty: give one id per row, or None where rows are independent")
    return Groupings(_codes(ids, n) for ids in groupings)


def intersection(groupings: Sequence[Codes]) -> Codes:
    """Rows that belong together by all groupings at once."""
    return (groupings if isinstance(groupings, Groupings) else Groupings(groupings)).cells


def _is_one(clusters: object) -> bool:
    """Whether these are ids, rather than several lists of ids."""
    if isinstance(clusters, (np.ndarray, pd.Series, pd.Index)):
        return np.ndim(clusters) == 1 and not (len(clusters) and isinstance(_first(clusters), np.ndarray))
    first = next(iter(clusters), None)  # type: ignore[call-overload]
    return first is not None and (isinstance(first, (str, bytes)) or np.ndim(first) == 0)


def _first(column: np.ndarray | pd.Series | pd.Index) -> object:
    return column.iloc[0] if isinstance(column, pd.Series) else column[0]


def _codes(ids: object, n: int) -> Codes:
    column = pd.Series(list(ids) if not isinstance(ids, (np.ndarray, pd.Series)) else np.asarray(ids))  # type: ignore[call-overload]
    if len(column) != n:
        raise DataError(f"clusters has {len(column)} ids for n={n} rows: give one per row")
    codes, _ = pd.factorize(column)
    if (codes < 0).any():
        raise DataError(f"clusters lacks the id of {int((codes < 0).sum())} of {n} rows: give one to each")
    return codes.astype(np.int64)
