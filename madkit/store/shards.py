"""Shards: the unit of work of a prediction, and what a resumed one skips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The unit of work of a prediction: consecutive rows of one split, whose results fill one file."""

    index: int
    split: str
    rows: tuple[int, ...]


def cut_shards(splits: Sequence[str], size: int) -> list[Shard]:
    """Cut a table into shards.

    Args:
        splits: The split of each row.
        size: Rows in a shard; the last one of a split may have fewer.

    Example:
        >>> [shard.rows for shard in cut_shards(["trusted"] * 3 + ["test"], 2)]
        [(0, 1), (2,), (3,)]
    """
    shards: list[Shard] = []
    rows: list[int] = []
    for row, split in enumerate(splits):
        rows.append(row)
        if len(rows) == size or row + 1 == len(splits) or splits[row + 1] != split:
            shards.append(Shard(len(shards), split, tuple(rows)))
            rows = []
    return shards
