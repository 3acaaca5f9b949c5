"""What every `predict` stage does, whatever vectors are made from: open stores, write shards, declare them whole."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.extraction.trusted_statistics import require_finite
from madkit.features.feature import Feature
from madkit.runs.atomic import write_json
from madkit.runs.cost import Cost
from madkit.runs.folder import provenance, root_of
from madkit.store.feature_store import FeatureStore

#: What of a store's identity is the feature's own; all else says which model read which prompts.
OWN = ("feature", "sites")


class StoreWriter(L.LightningModule):
    """Write features of the data's shards to the run's stores; what is on disk is not computed again.

    The data module has ``shards``, the ``table`` of prompts, and ``done_shards``, which is set here.

    Args:
        features: what to compute.

    Raises:
        ConfigError: a feature is listed twice.
    """

    def __init__(self, features: list[Feature]) -> None:
        super().__init__()
        self.features = features
        self.stores: dict[str, FeatureStore] = {}
        self.costs: dict[str, Cost] = {}
        self._collected: dict[str, list[dict[str, Tensor]]] = {}
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names):
            raise ConfigError(f"model.features={names}: each feature may be listed once")

    def open_stores(self, lm: nn.Module, model: Mapping[str, Any]) -> None:
        """Prepare the features, open their stores, and tell the data which shards are done.

        Args:
            lm: a skeleton of the base model.
            model: which model reads which prompts: the part of a store's identity that all features share.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for feature in self.features:
            feature.prepare(lm, str(model["base"]), root_of(self.trainer))
        self.points = {feature.name: feature.hookpoints(lm) for feature in self.features}
        for feature in self.features:
            sites = feature.sites(lm)
            made_by = {**model, "feature": feature.options(), "sites": sites}
            shards = [s for s in data.shards if s.split in feature.splits]
            root = root_of(self.trainer) / "features" / feature.name
            if self.trainer.is_global_zero:
                FeatureStore.create(root, made_by, sites, shards, data.table, feature.layers(lm), feature.widths(lm))
            self.trainer.strategy.barrier()
            self.stores[feature.name] = FeatureStore(root / FeatureStore.key(made_by))
        data.done_shards = {s.index for s in data.shards if not self._wanted(s.index, s.split)}

    def _wanted(self, shard: int, split: str) -> list[Feature]:
        """The features that this shard still lacks."""
        return [f for f in self.features if split in f.splits and not self.stores[f.name].path(shard).exists()]

    @torch.inference_mode(False)
    @torch.no_grad()
    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compute the features of one batch; write the shard when this was its last batch."""
        features = self._wanted(batch["shard"], batch["split"])
        for adapter in (True, False):
            group = [feature for feature in features if feature.adapter is adapter]
            if group:
                self.read(group, batch)
        if batch["last_in_shard"]:
            for feature in features:
                self._write(feature, batch["shard"])

    @abstractmethod
    def read(self, features: Sequence[Feature], batch: dict[str, Any]) -> None:
        """Compute features with the same ``adapter`` and ``collect`` their vectors."""

    def collect(self, feature: Feature, rows: Tensor, vectors: Mapping[str, Tensor]) -> None:
        """Keep the vectors of a batch, with the numbers of their rows, until their shard is whole.

        Raises:
            DataError: a vector is NaN or infinite.
        """
        for site, x in vectors.items():
            require_finite(feature.name, site, x, rows)
        self._collected.setdefault(feature.name, []).append({"row": rows, **vectors})

    def _write(self, feature: Feature, shard: int) -> None:
        parts = self._collected.pop(feature.name)
        whole = {key: torch.cat([part[key].cpu() for part in parts]) for key in parts[0]}
        rows = whole.pop("row")
        self.stores[feature.name].write(shard, rows, whole)

    def on_predict_end(self) -> None:
        """Once every process has written its shards, declare the stores complete."""
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero and not getattr(self.trainer, "fast_dev_run", False):
            for store in self.stores.values():
                store.finish()
            self.sign({name: store.folder.name for name, store in self.stores.items()})

    def sign(self, made: dict[str, str]) -> None:
        """Write ``predict.json``, whose presence says that the whole stage is done.

        Args:
            made: the key of each feature's store.
        """
        path = root_of(self.trainer) / "predict.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        # What had been computed before has not been timed again.
        same = {name for name, key in made.items() if before.get("features", {}).get(name) == key}
        kept = {name: cost for name, cost in before.get("cost", {}).items() if name in same}
        write_json(path, {"features": made, "cost": kept | self.costs, "made_by": provenance()})
