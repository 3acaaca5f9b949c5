"""StoredActivations: encoders trained on the vectors of a run's feature store, without a language model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import Metric

from madkit.data.distributed import RankAwareDataModule
from madkit.data.pretraining.step_batches import StepBatches, ready_batches
from madkit.encoders.encoder_site import LAST_TOKEN, hookpoint_of
from madkit.errors import ConfigError, DataError
from madkit.lm.hooks import Hookpoint
from madkit.store.feature_store import FeatureStore
from madkit.streaming.accumulator import merge_processes


class StoredActivations(RankAwareDataModule):
    """Last-token vectors that `madkit predict` has stored, of one split.

    They are few, a thousand or so, and of prompts of one dataset, so their encoders should be small. Vectors of
    ``features/activations`` are the quirky LM's and those of ``controls/activations`` the base model's; an encoder's
    identity says which, and names the store.

    Args:
        store: ``features/activations`` or ``controls/activations`` of a run.
        split: the split to train on; labels are never seen.
        sites: site names; null for all of the store.
        batch_size: rows in one optimizer step, over all devices.
        steps_per_epoch: optimizer steps in one epoch; a row is drawn again only when all others have been.
        validation: share of the rows that is held out.
        seed: of the draws and of the rows that are held out.
    """

    positions = LAST_TOKEN

    def __init__(
        self,
        store: str,
        split: str = "trusted",
        sites: list[str] | None = None,
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        validation: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or steps_per_epoch < 1 or not 0 < validation < 1:
            raise ConfigError(
                f"batch_size={batch_size} and steps_per_epoch={steps_per_epoch} must be at least 1, "
                f"validation={validation} between 0 and 1"
            )
        self.folder = store
        self.split = split
        self.chosen = sites
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.validation = validation
        self.seed = seed

    @cached_property
    def store(self) -> FeatureStore:
        """The last complete store of the feature."""
        return FeatureStore.current(Path(self.folder))

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """All rows (n, d) of the split by site."""
        sites = self.store.sites if self.chosen is None else self.chosen
        vectors = {site: self.store.read(site, self.split)[1] for site in sites}
        if any(x.layout != torch.strided for x in vectors.values()):
            raise ConfigError(f"data.store={self.folder!r} holds sparse latents: give a store of activations")
        return vectors

    @property
    def hookpoints(self) -> dict[str, Hookpoint]:
        """The tensor of each site."""
        return {site: hookpoint_of(site) for site in self.vectors}

    @property
    def widths(self) -> dict[str, int]:
        """The length of each site's vectors."""
        return {site: x.shape[1] for site, x in self.vectors.items()}

    @property
    def base_fingerprint(self) -> str:
        """The base model whose vectors the store holds."""
        return str(self.store.identity["base"])

    def identity(self) -> dict[str, Any]:
        """Which store and split."""
        return {
            "source": "store", "feature": Path(self.folder).name, "control": self.store.identity["control"],
            "split": self.split, "store": self.store.folder.name,
        }  # fmt: skip

    @cached_property
    def _split_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows for training, and those for validation."""
        n = len(next(iter(self.vectors.values())))
        order = np.random.default_rng([self.seed, 0]).permutation(n)
        held = round(n * self.validation)
        if not 0 < held < n:
            raise DataError(f"validation={self.validation} of {n} rows leaves no row on one side: choose another share")
        return order[held:], order[:held]

    def _rows(self, rows: np.ndarray) -> dict[str, dict[str, Tensor]]:
        rows_here = torch.from_numpy(rows[self._rank :: self._world].copy())
        return {"x": {site: x[rows_here] for site, x in self.vectors.items()}}

    def train_batch(self, step: int) -> dict[str, dict[str, Tensor]]:
        """This process' rows of the batch of a training step."""
        rows = self._split_rows[0]
        draws = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        # Each round goes through all rows once, in an order of its number.
        rounds = {
            r: np.random.default_rng([self.seed, 1, r]).permutation(rows) for r in set((draws // len(rows)).tolist())
        }
        return self._rows(np.array([rounds[int(draw) // len(rows)][draw % len(rows)] for draw in draws]))

    def statistics(self, make: Callable[[], Metric], device: torch.device) -> dict[str, Any]:
        """Exact statistics of all training rows, over all processes; see `ActivationSource.statistics`."""
        seen: dict[str, Any] = {site: make().to(device) for site in self.vectors}
        for site, x in self._rows(self._split_rows[0])["x"].items():
            seen[site].update(x.to(device).double())
        return {site: merge_processes(accumulator).result() for site, accumulator in seen.items()}

    def train_dataloader(self) -> StepBatches:
        """`steps_per_epoch` batches in an epoch."""
        return StepBatches(self.train_batch, self.steps_per_epoch, self._position)

    def val_dataloader(self) -> DataLoader[Any]:
        """All held-out rows in one batch."""
        return ready_batches([self._rows(self._split_rows[1])])
