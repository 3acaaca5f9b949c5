"""Stored activations, served in the batches in which the language model was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

import madkit
from madkit.data.distributed import RankAwareDataModule
from madkit.data.prompts.batches import Batch, LabelledPrompts
from madkit.data.prompts.shard_batches import ShardBatches
from madkit.data.prompts.tokens import tokenize_prompts
from madkit.errors import ConfigError, StoreError
from madkit.extraction.store_writer import OWN
from madkit.runs import fingerprints
from madkit.runs.folder import root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.matching import matching_stores
from madkit.store.shards import Shard


class StoredBatches(ShardBatches):
    """Stored vectors in the batches in which the LM read them, because a matrix product's last bits depend on those.

    Args:
        stores: where they are, by feature.
        sites: what of each store is wanted.
        prompts: the prompts of the whole table.
        shards: the shards of this process.
        batch_size: prompts in one batch.
    """

    def __init__(
        self,
        stores: Mapping[str, FeatureStore],
        sites: Mapping[str, Sequence[str]],
        prompts: LabelledPrompts,
        shards: Sequence[Shard],
        batch_size: int,
    ) -> None:
        super().__init__(prompts, shards, batch_size)
        self.stores = stores
        self.sites = sites
        self._held: tuple[int, dict[str, dict[str, Tensor]]] = (-1, {})

    def __getitem__(self, index: int) -> Batch:
        """`x`, the vectors (B, d) by feature and site, and what `ShardBatches` says of their rows."""
        shard, positions, last = self.items[index]
        if self._held[0] != shard.index:
            whole = {
                name: {site: self.stores[name].read_shard(shard.index, site)[1] for site in sites}
                for name, sites in self.sites.items()
            }
            self._held = shard.index, whole
        # Prompts of a shard are consecutive, and its file is in their order.
        own = torch.from_numpy(positions - shard.rows[0])
        x = {name: {site: v[own] for site, v in sites.items()} for name, sites in self._held[1].items()}
        row = torch.from_numpy(self.prompts.rows[positions])
        return {"x": x, "row": row, "shard": shard.index, "last_in_shard": last, "split": shard.split}


class StoredShards(RankAwareDataModule):
    """The run's current ``activations``, and ``base_activations`` where an encoder reads those, shard by shard.

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
        self.sites: dict[str, list[str]] = {}
        self.done_shards: set[int] = set()

    def setup(self, stage: str) -> None:
        """Open the stores.

        Raises:
            StoreError: if one is missing, incomplete, or was made by another adapter, tokenizer or madkit.
        """
        module: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        if not hasattr(module, "sources"):
            raise ConfigError("data=StoredShards has no prompts for an LM: use it with model=StoredExtractor")
        parts = ("base", "tokenizer", "dtype", "attention", "prompts", "adapter", "madkit")
        self.stores = matching_stores(root_of(self.trainer), module.sources, parts)
        first = next(iter(self.stores.values()))
        self.model = {part: value for part, value in first.identity.items() if part not in OWN}
        found = {"tokenizer": fingerprints.tokenizer_fingerprint(module.tokenizer), "madkit": madkit.__version__}
        for part, value in found.items():
            if self.model[part] != value:
                raise StoreError(
                    f"store {str(first.folder)!r} was made with another {part} ({self.model[part]}) than this one "
                    f"({value}); run `madkit predict` with predict.yaml again"
                    + (", or name its base in --model.base" if part == "tokenizer" else "")
                )
        self.table = first.rows
        self.shards = [
            Shard(s["index"], s["split"], tuple(range(s["first"], s["first"] + s["count"])))
            for s in first.manifest["shards"]
        ]

    def predict_dataloader(self) -> DataLoader[Any]:
        """The batches of this process' shards that are not done yet."""
        # Short prompts first, as when the LM read them; how long they are only the tokenizer knows.
        texts = self.table["prompt"].tolist(), self.table["choices"].tolist()
        module: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        tokens = tokenize_prompts(module.tokenizer, *texts, self.model["prompts"]["max_length"])
        prompts = LabelledPrompts(tokens, self.table, self.table["row"].to_numpy())
        mine = [s for s in self.shards[self._rank :: self._world] if s.index not in self.done_shards]
        batches = StoredBatches(self.stores, self.sites, prompts, mine, self.predict_batch_size)
        return DataLoader(batches, batch_size=None)
