"""Shards: the unit of work of a prediction, and what a resumed one skips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from madkit.data.batches import Batch, PromptSet


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


class ShardBatches(Dataset[Batch]):
    """The batches of some shards, each ready for the model.

    Besides the keys of `PromptSet.batch`, a batch says which `shard` it is from, whether it is the
    `last_in_shard`, and the `split` of its rows.

    Args:
        prompts: The prompts of the whole table.
        shards: The shards of this process.
        batch_size: Prompts in one batch; batches never cross a shard, so they are the same for any number
            of processes.
    """

    def __init__(self, prompts: PromptSet, shards: Sequence[Shard], batch_size: int) -> None:
        self.prompts = prompts
        self.items: list[tuple[Shard, np.ndarray, bool]] = []
        for shard in shards:
            order = prompts.by_length(np.array(shard.rows))
            starts = range(0, len(order), batch_size)
            self.items += [(shard, order[i : i + batch_size], i == starts[-1]) for i in starts]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        shard, rows, last = self.items[index]
        batch = self.prompts.batch(rows)
        return {**batch, "shard": shard.index, "last_in_shard": last, "split": shard.split}
