"""Feed the detectors from a run's feature stores, one site after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import pandas as pd
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from madkit.derived import DerivedFeature, DerivedSite
from madkit.errors import ConfigError, DataError, StoreError
from madkit.runs.folder import root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.matching import matching_stores
from madkit.store.prompt_rows import check_prompt_rows
from madkit.store.variant import Variant
from madkit.streaming.validation import no_rows_like

ANSWERS = Variant("answers")


class Feed(NamedTuple):
    """What vectors of a split are used for."""

    role: str
    """``source``, ``trusted`` and ``untrusted`` are learned from, ``calibration`` and ``test`` are scored."""
    split: str
    """The split that they come from."""
    needed: bool = True
    """Whether it is an error if a store does not have the split."""


class SiteBlocks(Dataset[dict[str, Any]]):
    """The vectors of one site in blocks, in the order of the feeds: what a detector is fitted on comes first.

    Every process sees every ``world``-th block and the same number of blocks of each split, the last of which
    may be empty, so that processes reach the end of a split together and none counts a prompt twice.

    Args:
        variant: the feature.
        site: the site, and the vectors that it is made of.
        stores: of all features that are read.
        feeds: what is fed, in order.
        block_size: prompts in a block.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self,
        variant: Variant,
        site: DerivedSite,
        stores: Mapping[Variant, FeatureStore],
        feeds: Sequence[Feed],
        block_size: int,
        rank: int,
        world: int,
    ) -> None:
        self.variant = variant
        self.site = site
        self.stores = [(stores[source], name) for source, name in site.sources]
        self.blocks: list[tuple[str, str, int, int]] = []
        for role, split, _ in feeds:
            total = min(store.count(split) for store, _ in self.stores)
            rounds = -(-total // (block_size * world))
            for k in range(rounds):
                start = min((k * world + rank) * block_size, total)
                self.blocks.append((role, split, start, min(start + block_size, total)))

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        role, split, start, stop = self.blocks[index]
        parts = [_read(store, site, split, start, stop) for store, site in self.stores]
        rows = parts[0][0]
        for other, _ in parts[1:]:
            if not rows.equal(other):
                folders = ", ".join(repr(str(store.folder)) for store, _ in self.stores)
                raise StoreError(
                    f"stores {folders} hold other {split} prompts: run `madkit predict` with all in one recipe"
                )
        return {
            "variant": self.variant,
            "site": self.site.name,
            "role": role,
            "row": rows,
            "sources": [x for _, x in parts],
            "last": index == len(self) - 1,
        }


def _read(store: FeatureStore, site: str, split: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Row numbers and vectors of some prompts of a split, or of none, which have a width all the same."""
    if start < stop:
        return store.read(site, split, start, stop)
    rows, x = store.read(site, split, 0, 1)
    return rows[:0], no_rows_like(x)


class StoreData(L.LightningDataModule):
    """A run's feature stores, checked against each other and against the run's adapter.

    Args:
        dataset: the quirky dataset; it names the run folder.
        block_size: prompts that are read at a time.
    """

    def __init__(self, dataset: str, block_size: int = 4096) -> None:
        super().__init__()
        if block_size < 1:
            raise ConfigError(f"data.block_size={block_size} must be at least 1")
        self.dataset = dataset
        self.block_size = block_size
        self.stores: dict[Variant, FeatureStore] = {}
        self.feeds: Mapping[Variant, Sequence[Feed]] = {}
        self.sites: dict[Variant, list[DerivedSite]] = {}

    def open(self, feeds: Mapping[Variant, Sequence[Feed]], derived: Mapping[Variant, DerivedFeature]) -> None:
        """Open the stores of some features, and that of the answers if there is one.

        Args:
            feeds: of each feature, what is fed.
            derived: those of the features that are made of stored ones.

        Raises:
            StoreError: a store is missing, incomplete, or was made by another adapter, model or set of prompts.
            DataError: a split is empty.
        """
        run = root_of(self.trainer)
        reads = {v: derived[v].variants() if v in derived else [v] for v in feeds}
        variants = list(dict.fromkeys(source for sources in reads.values() for source in sources))
        if ANSWERS.folder(run).exists() and ANSWERS not in variants:
            variants.append(ANSWERS)
        self.stores = matching_stores(run, variants)
        self.feeds = feeds
        self.sites = {
            v: derived[v].sites(self.stores) if v in derived else _stored_sites(v, self.stores[v]) for v in feeds
        }
        wanted = ((s, feed.split) for v, fed in feeds.items() for s in reads[v] for feed in fed if feed.needed)
        for source, split in wanted:
            if not self.stores[source].count(split):
                raise DataError(
                    f"store {str(self.stores[source].folder)!r} has no {split} prompts; list the split in the "
                    "feature's `splits` and run `madkit predict` again"
                    + ("; or aggregate by mean and max only" if split == "calibration" else "")
                )

    def prompts(self, split: str = "test") -> pd.DataFrame:
        """The prompts of a split with their labels, by row.

        Raises:
            StoreError: the store's table lacks a column, or one holds what it cannot hold.
        """
        store = next(iter(self.stores.values()))
        rows = store.rows
        try:
            check_prompt_rows(rows)
        except DataError as error:
            raise StoreError(f"store {str(store.folder)!r}: {error}; delete it and make it again") from None
        return rows[rows["split"] == split].sort_values("row").reset_index(drop=True)

    def test_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """One loader per feature and site; those that are made of the same stored vectors come one after another."""
        trainer: Any = self.trainer
        rank, world = trainer.global_rank, trainer.world_size
        alike: dict[Any, list[SiteBlocks]] = {}
        for variant, feeds in self.feeds.items():
            for site in self.sites[variant]:
                blocks = SiteBlocks(variant, site, self.stores, feeds, self.block_size, rank, world)
                alike.setdefault(site.sources, []).append(blocks)
        return [DataLoader(blocks, batch_size=None) for group in alike.values() for blocks in group]


def _stored_sites(variant: Variant, store: FeatureStore) -> list[DerivedSite]:
    return [DerivedSite(site, store.layers[site], ((variant, site),)) for site in store.sites]
