"""Stored activations, served in the batches in which the language model was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase as Tokenizer

import madkit
from madkit.data.distributed import RankAwareDataModule
from madkit.data.prompts.batches import Batch, LabelledPrompts
from madkit.data.prompts.shard_batches import ShardBatches
from madkit.data.prompts.tokens import tokenize_prompts
from madkit.errors import ConfigError, StoreError
from madkit.extraction.store_writer import FEATURE_PARTS
from madkit.runs import fingerprints
from madkit.runs.folder import root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.matching import matching_stores
from madkit.store.shards import Shard
from madkit.store.variant import Variant


class StoredBatches(ShardBatches):
    """Stored vectors in the batches in which the LM read them, because a matrix product's last bits depend on those.

    Args:
        stores: where they are.
        sites: which sites of each store to read.
        prompts: the prompts of all shards.
        shards: the shards of this process.
        batch_size: prompts in one batch.
    """

    prompts: LabelledPrompts

    def __init__(
        self,
        stores: Mapping[Variant, FeatureStore],
        sites: Mapping[Variant, Sequence[str]],
        prompts: LabelledPrompts,
        shards: Sequence[Shard],
        batch_size: int,
    ) -> None:
        super().__init__(prompts, shards, batch_size)
        self.stores = stores
        self.sites = sites
        self._loaded: tuple[int, dict[Variant, dict[str, Tensor]]] = (-1, {})

    def __getitem__(self, index: int) -> Batch:
        """`x`, the vectors (B, d) by store and site, and what `ShardBatches` says of their rows."""
        shard, positions, last = self.items[index]
        if self._loaded[0] != shard.index:
            vectors = {
                variant: {site: self.stores[variant].read_shard(shard.index, site)[1] for site in sites}
                for variant, sites in self.sites.items()
            }
            self._loaded = shard.index, vectors
        # Prompts of a shard are consecutive, and its file is in their order.
        inside = torch.from_numpy(positions - shard.rows[0])
        x = {variant: {site: v[inside] for site, v in sites.items()} for variant, sites in self._loaded[1].items()}
        row = torch.from_numpy(self.prompts.rows[positions])
        return {"x": x, "row": row, "shard": shard.index, "last_in_shard": last, "split": shard.split}


class StoredShards(RankAwareDataModule):
    """The run's current ``activations``, and those with the adapter off for controls, shard by shard.

    Args:
        dataset: the quirky dataset; it names the run folder.
        predict_batch_size: prompts in one batch; with that of `QuirkyData` the vectors are equal to the last bit.
    """

    # With more devices than shards, a device may have nothing to predict.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, dataset: str, predict_batch_size: int = 64) -> None:
        super().__init__()
        if predict_batch_size < 1:
            raise ConfigError(f"data.predict_batch_size={predict_batch_size} must be at least 1")
        self.dataset = dataset
        self.predict_batch_size = predict_batch_size
        self.done_shards: set[int] = set()
        self.sites: dict[Variant, list[str]] = {}
        """Which sites of each store to read; set by the model before the prediction starts."""

    def open(self, variants: Sequence[Variant], tokenizer: Tokenizer) -> None:
        """Open the stores.

        Args:
            variants: activations, with the adapter on or off.
            tokenizer: that of the LM which was read.

        Raises:
            StoreError: one is missing, incomplete, or was made by another adapter, tokenizer or madkit.
        """
        parts = ("base", "tokenizer", "dtype", "precision", "attention", "prompts", "adapter", "madkit")
        self.stores = matching_stores(root_of(self.trainer), variants, parts)
        first = next(iter(self.stores.values()))
        self.identity = {part: value for part, value in first.identity.items() if part not in FEATURE_PARTS}
        current = {"tokenizer": fingerprints.tokenizer_fingerprint(tokenizer), "madkit": madkit.__version__}
        for part, value in current.items():
            if self.identity[part] != value:
                raise StoreError(
                    f"store {str(first.folder)!r} was made with another {part} ({self.identity[part]}) than this one "
                    f"({value}); run `madkit predict` with predict.yaml again"
                    + (", or name its base in --model.base" if part == "tokenizer" else "")
                )
        self.tokenizer = tokenizer
        self.table = first.rows
        self.shards = first.shards

    def predict_dataloader(self) -> DataLoader[Any]:
        """The batches of this process' shards that are not done yet."""
        # Short prompts first, as when the LM read them; how long they are only the tokenizer knows.
        texts = self.table["prompt"].tolist(), self.table["choices"].tolist()
        tokens = tokenize_prompts(self.tokenizer, *texts, self.identity["prompts"]["max_length"])
        prompts = LabelledPrompts(tokens, self.table, self.table["row"].to_numpy())
        mine = [s for s in self.shards[self._rank :: self._world] if s.index not in self.done_shards]
        batches = StoredBatches(self.stores, self.sites, prompts, mine, self.predict_batch_size)
        return DataLoader(batches, batch_size=None)
