"""The prompts of a prediction, in batches that never cross a shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from madkit.data.prompts.batches import Batch
from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.store.shards import Shard


class BatchedPrompts(Protocol):
    """Prompts that can be collated, such as `LabelledPrompts`."""

    @property
    def tokens(self) -> TokenizedPrompts:
        """The prompts."""

    def batch(self, index: np.ndarray) -> Batch:
        """Collate the prompts at some positions (b,)."""


class ShardBatches(Dataset[Batch]):
    """The batches of some shards, each ready for the model.

    Besides the keys of the prompts' own ``batch``, a batch says which `shard` it is from, whether it is the
    `last_in_shard`, and the `split` of its rows.

    Args:
        prompts: All prompts of the table.
        shards: The shards of this process.
        batch_size: Prompts in one batch; batches never cross a shard, so they are the same for any number
            of processes.
    """

    def __init__(self, prompts: BatchedPrompts, shards: Sequence[Shard], batch_size: int) -> None:
        self.prompts = prompts
        self.items: list[tuple[Shard, np.ndarray, bool]] = []
        for shard in shards:
            order = prompts.tokens.by_length(np.array(shard.rows))
            starts = range(0, len(order), batch_size)
            self.items += [(shard, order[i : i + batch_size], i == starts[-1]) for i in starts]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        shard, rows, last = self.items[index]
        batch = self.prompts.batch(rows)
        return {**batch, "shard": shard.index, "last_in_shard": last, "split": shard.split}
