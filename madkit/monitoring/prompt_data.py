"""PromptData: prompts of a monitor, in batches for an extraction or for scoring."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from madkit.data.prompts.shard_batches import ShardBatches
from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.errors import ConfigError
from madkit.store.shards import Shard, cut_shards

_SHARD_SIZE = 512


class UnlabelledPrompts:
    """Tokenized prompts of which nothing else is known.

    Args:
        tokens: the n prompts.
    """

    def __init__(self, tokens: TokenizedPrompts) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, index: np.ndarray) -> dict[str, Any]:
        """Collate b prompts: ``input_ids``, ``attention_mask`` (b, t) int64, padded on the left; ``row`` (b,)."""
        input_ids, mask = self.tokens.padded(index)
        arrays = {"input_ids": input_ids, "attention_mask": mask, "row": index.astype(np.int64)}
        return {key: torch.from_numpy(array) for key, array in arrays.items()}


class PromptData(L.LightningDataModule):
    """Prompts to be read by a model.

    Args:
        tokens: the prompts.
        splits: the split of each, equal ones side by side; None for ``test`` alone.
        batch_size: prompts in one forward pass.

    Raises:
        ConfigError: `batch_size` is below 1.
    """

    def __init__(self, tokens: TokenizedPrompts, splits: Sequence[str] | None = None, batch_size: int = 16) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} must be at least 1")
        self.prompts, self.batch_size = UnlabelledPrompts(tokens), batch_size
        named = list(splits) if splits is not None else ["test"] * len(tokens)
        self.table = pd.DataFrame({"row": np.arange(len(tokens)), "split": named})
        self.shards = cut_shards(named, _SHARD_SIZE)
        self.done_shards: set[int] = set()

    def loader(self, shards: Sequence[Shard], done: Collection[int] = ()) -> DataLoader[Any]:
        """The batches of some shards, but for those that are done."""
        left = [shard for shard in shards if shard.index not in done]
        return DataLoader(ShardBatches(self.prompts, left, self.batch_size), batch_size=None)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The batches of all shards that are not done yet."""
        return self.loader(self.shards, self.done_shards)
