"""Rows that belong together: several prompts of one statement, several statements of one speaker."""

from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import plain_array
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
        clusters: (n,) ids as of `id_codes`, or several such lists; or what this function has returned for them.
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
    plain = _plain(clusters, "clusters")
    groupings: Sequence[object] = [plain] if _is_one(plain) else list(plain)
    if not groupings:
        raise DataError("clusters is empty: give one id per row, or None where rows are independent")
    return Groupings(id_codes(ids, n, "clusters") for ids in groupings)


def id_codes(ids: object, n: int, name: str) -> Codes:
    """One list of ids as numbers 0, 1, ... in the order in which they appear.

    Args:
        ids: (n,) of any kind that can be told from others: text, numbers, tuples; in a sequence, an array, a tensor or
            a column of pandas or Arrow.
        n: number of rows.
        name: what to call them in messages.

    Raises:
        DataError: there is not one id per row, or an id is missing.

    Example:
        >>> id_codes([("llama", "nli"), ("llama", "sciq"), ("llama", "nli")], 3, "groups").tolist()
        [0, 1, 0]
    """
    plain = _plain(ids, name)
    if isinstance(plain, np.ndarray) and plain.ndim != 1:
        raise DataError(f"{name} has shape {plain.shape} for n={n} rows: give one id per row, ({n},)")
    if len(plain) != n:
        raise DataError(f"{name} has {len(plain)} ids for n={n} rows: give one per row")
    codes, _ = pd.factorize(pd.Series(plain))
    if (codes < 0).any():
        raise DataError(f"{name} lacks the id of {int((codes < 0).sum())} of {n} rows: give one to each")
    return codes.astype(np.int64)


def intersection(groupings: Sequence[Codes]) -> Codes:
    """Rows that belong together by all groupings at once."""
    return (groupings if isinstance(groupings, Groupings) else Groupings(groupings)).cells


def _plain(ids: Any, name: str) -> NDArray[Any] | list[Any]:
    """Ids as NumPy or Python has them.

    The items of a tensor, and those of an Arrow column that are missing, are equal only where they are one object: as
    they stand, each row would be a cluster of its own, or all rows without an id would be one.
    """
    if not np.iterable(ids):
        raise DataError(f"{name}={ids!r} is no list of ids: give one per row")
    if isinstance(ids, np.ndarray):
        return ids
    if hasattr(ids, "detach"):
        return plain_array(ids, name)
    if hasattr(ids, "__array__"):
        return np.asarray(ids)
    items = list(ids)
    if any(_wraps(kind) for kind in set(map(type, items))):
        return [_unwrapped(item) for item in items]
    return items


def _wraps(kind: type) -> bool:
    """Whether values of this type may hold a single id: tensors and arrays, scalars of Arrow."""
    return hasattr(kind, "as_py") or (hasattr(kind, "ndim") and not issubclass(kind, np.generic))


def _unwrapped(item: Any) -> Any:
    if hasattr(item, "as_py"):
        return item.as_py()
    return item.item() if getattr(item, "ndim", None) == 0 else item


def _is_one(clusters: NDArray[Any] | list[Any]) -> bool:
    """Whether these are ids, rather than several lists of ids."""
    if isinstance(clusters, np.ndarray):
        return clusters.ndim == 1 and not (len(clusters) and isinstance(clusters[0], np.ndarray))
    return bool(clusters) and (isinstance(clusters[0], (str, bytes)) or np.ndim(clusters[0]) == 0)
