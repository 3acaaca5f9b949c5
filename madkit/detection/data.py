"""Feed the detectors from a run's feature stores, one site after another."""

from __future__ import annotations

from typing import Any

import lightning as L
import pandas as pd
from torch.utils.data import DataLoader, Dataset

from madkit.errors import ConfigError, DataError
from madkit.runs.folder import root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.matching import matching_stores
from madkit.streaming.validation import no_rows_like


class SiteBlocks(Dataset[dict[str, Any]]):
    """The vectors of one site in blocks, in the order of their parts: what a detector is fitted on comes first.

    Every process sees every ``world``-th block and the same number of blocks of each split, the last of which
    may be empty, so that processes reach the end of a split together and none counts a prompt twice.

    Args:
        store: the feature's store.
        site: the site.
        feeds: pairs of a part that vectors play and the split they come from, in the order they are fed.
        block_size: prompts in a block.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self, store: FeatureStore, site: str, feeds: list[tuple[str, str]], block_size: int, rank: int, world: int
    ) -> None:
        self.store = store
        self.site = site
        self.blocks: list[tuple[str, str, int, int]] = []
        for part, split in feeds:
            total = store.count(split)
            rounds = -(-total // (block_size * world))
            for k in range(rounds):
                start = min((k * world + rank) * block_size, total)
                self.blocks.append((part, split, start, min(start + block_size, total)))

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, split, start, stop = self.blocks[index]
        if start < stop:
            rows, x = self.store.read(self.site, split, start, stop)
        else:
            rows, x = self.store.read(self.site, split, 0, 1)
            rows, x = rows[:0], no_rows_like(x)
        feature = self.store.folder.parent.name
        return {
            "feature": feature,
            "site": self.site,
            "part": part,
            "row": rows,
            "x": x,
            "last": index == len(self) - 1,
        }


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
        self.stores: dict[str, FeatureStore] = {}

    def setup(self, stage: str) -> None:
        """Open the stores that the detectors name.

        Raises:
            StoreError: if one is missing, incomplete, or was made by another adapter, model or set of
                prompts.
            DataError: if a split is empty.
        """
        root = root_of(self.trainer)
        detection: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        names = list(dict.fromkeys(detection.features))
        if (root / "features" / "answers").exists() and "answers" not in names:
            names.append("answers")
        self.stores = matching_stores(root, names)
        for name, store in self.stores.items():
            for _, split in detection.feeds(name) if name in detection.features else ():
                if not store.count(split):
                    raise DataError(
                        f"store {str(store.folder)!r} has no {split} prompts; list the split in the feature's `splits` "
                        "and run `madkit predict` again"
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
        detection = trainer.lightning_module
        return [
            DataLoader(
                SiteBlocks(self.stores[feature], site, detection.feeds(feature), self.block_size, rank, world),
                batch_size=None,
            )
            for feature in detection.features
            for site in self.stores[feature].sites
        ]
