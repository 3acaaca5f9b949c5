"""Feed the detectors from a run's feature stores, one site after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import pandas as pd
from torch.utils.data import DataLoader, Dataset

from madkit.errors import ConfigError, DataError
from madkit.runs.folder import root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.matching import matching_stores
from madkit.store.variant import Variant
from madkit.streaming.validation import no_rows_like

ANSWERS = Variant("answers")


class Feed(NamedTuple):
    """What vectors of a split are used for."""

    role: str
    """``trusted`` and ``untrusted`` are learned from, ``calibration`` and ``test`` are scored."""
    split: str
    """The split that they come from."""


class SiteBlocks(Dataset[dict[str, Any]]):
    """The vectors of one site in blocks, in the order of the feeds: what a detector is fitted on comes first.

    Every process sees every ``world``-th block and the same number of blocks of each split, the last of which
    may be empty, so that processes reach the end of a split together and none counts a prompt twice.

    Args:
        variant: the feature.
        store: its store.
        site: the site.
        feeds: what is fed, in order.
        block_size: prompts in a block.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self,
        variant: Variant,
        store: FeatureStore,
        site: str,
        feeds: Sequence[Feed],
        block_size: int,
        rank: int,
        world: int,
    ) -> None:
        self.variant = variant
        self.store = store
        self.site = site
        self.blocks: list[tuple[str, str, int, int]] = []
        for role, split in feeds:
            total = store.count(split)
            rounds = -(-total // (block_size * world))
            for k in range(rounds):
                start = min((k * world + rank) * block_size, total)
                self.blocks.append((role, split, start, min(start + block_size, total)))

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        role, split, start, stop = self.blocks[index]
        if start < stop:
            rows, x = self.store.read(self.site, split, start, stop)
        else:
            rows, x = self.store.read(self.site, split, 0, 1)
            rows, x = rows[:0], no_rows_like(x)
        last = index == len(self) - 1
        return {"variant": self.variant, "site": self.site, "role": role, "row": rows, "x": x, "last": last}


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

    def open(self, feeds: Mapping[Variant, Sequence[Feed]]) -> None:
        """Open the stores of some features, and that of the answers if there is one.

        Args:
            feeds: of each feature, what is fed.

        Raises:
            StoreError: a store is missing, incomplete, or was made by another adapter, model or set of prompts.
            DataError: a split is empty.
        """
        run = root_of(self.trainer)
        variants = list(feeds)
        if ANSWERS.folder(run).exists() and ANSWERS not in variants:
            variants.append(ANSWERS)
        self.stores = matching_stores(run, variants)
        self.feeds = feeds
        for variant, sequence in feeds.items():
            for _, split in sequence:
                if not self.stores[variant].count(split):
                    raise DataError(
                        f"store {str(self.stores[variant].folder)!r} has no {split} prompts; list the split in the "
                        "feature's `splits` and run `madkit predict` again"
                        + ("; or aggregate by mean and max only" if split == "calibration" else "")
                    )

    @property
    def prompts(self) -> pd.DataFrame:
        """The test prompts with their labels, by row."""
        rows = next(iter(self.stores.values())).rows
        return rows[rows["split"] == "test"].sort_values("row").reset_index(drop=True)

    def test_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """One loader per feature and site."""
        trainer: Any = self.trainer
        rank, world = trainer.global_rank, trainer.world_size
        return [
            DataLoader(
                SiteBlocks(variant, self.stores[variant], site, feeds, self.block_size, rank, world), batch_size=None
            )
            for variant, feeds in self.feeds.items()
            for site in self.stores[variant].sites
        ]
