"""What every `predict` stage does, whatever vectors are made from: open stores, write shards, declare them complete."""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import lightning as L
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.extraction.kept_costs import KeptCosts
from madkit.extraction.trusted_statistics import require_finite
from madkit.features.feature import Feature
from madkit.runs.atomic import write_json
from madkit.runs.folder import provenance, root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.shards import Shard
from madkit.store.variant import ADAPTER_WEIGHTS, Variant
from madkit.training.lightning_internals import datamodule_of, is_trial

#: The parts of a store's identity that are its feature's; the others say which model read which prompts.
FEATURE_PARTS = ("feature", "control", "sites")
#: The file that says that the stage is complete.
MARKER = "predict.json"


@runtime_checkable
class ShardedPrompts(Protocol):
    """What the data of a `predict` stage have."""

    table: pd.DataFrame
    """The prompts."""
    shards: list[Shard]
    """How they are cut."""
    done_shards: set[int]
    """Shards that need not be read again; set by the model before the prediction starts."""


class StoreWriter(L.LightningModule):
    """Write features of the data's shards to the run's stores; what is on disk is not computed again.

    Args:
        features: what to compute.
        controls: names of those to compute with the adapter switched off, too.

    Raises:
        ConfigError: a feature is listed twice, or a control is no feature.
    """

    def __init__(self, features: list[Feature], controls: list[str] | None = None) -> None:
        super().__init__()
        names = [feature.name for feature in features]
        if len(set(names)) < len(names):
            raise ConfigError(f"model.features={names}: each feature may be listed once")
        controls = list(dict.fromkeys(controls or []))
        if unknown := [name for name in controls if name not in names]:
            raise ConfigError(
                f"model.controls={controls}: {', '.join(unknown)} must be listed in model.features too, which has "
                f"{', '.join(names)}"
            )
        self.features: dict[Variant, Feature] = {Variant(feature.name): feature for feature in features}
        # A feature may remember the model that it has met, so a control has a copy of it.
        self.features |= {Variant(name, False): copy.deepcopy(features[names.index(name)]) for name in controls}
        self.stores: dict[Variant, FeatureStore] = {}
        self._collected: dict[Variant, list[dict[str, Tensor]]] = {}

    def open_stores(self, lm: nn.Module, model: Mapping[str, Any], adapted: nn.Module | None = None) -> None:
        """Prepare the features, open their stores, and tell the data which shards are done.

        Args:
            lm: a skeleton of the base model.
            model: which model reads which prompts: the part of a store's identity that all features share.
            adapted: a skeleton with the adapter's modules, for the features that need its weights; None if none does.
        """
        data: ShardedPrompts = datamodule_of(self, ShardedPrompts)
        run = root_of(self.trainer)
        skeletons = {
            feature.name: adapted if adapted is not None and ADAPTER_WEIGHTS in feature.needs else lm
            for feature in self.features.values()
        }
        for feature in self.features.values():
            feature.prepare(skeletons[feature.name], str(model["base"]), run)
        self.hookpoints = {name: self.features[Variant(name)].hookpoints(lm) for name, lm in skeletons.items()}
        for variant, feature in self.features.items():
            lm = skeletons[feature.name]
            sites = feature.sites(lm)
            identity = {**model, "feature": feature.identity(), "control": not variant.adapter, "sites": sites}
            shards = [s for s in data.shards if s.split in feature.splits]
            folder = variant.folder(run)
            if self.trainer.is_global_zero:
                FeatureStore.create(folder, identity, sites, shards, data.table, feature.layers(lm), feature.widths(lm))
            self.trainer.strategy.barrier()
            self.stores[variant] = FeatureStore(folder / FeatureStore.key(identity))
        # Each process looks through its share of what an earlier command has left.
        rank, world = self.global_rank, self.trainer.world_size
        for store in self.stores.values():
            store.discard_damaged([s.index for s in data.shards][rank::world])
        keys = {variant: store.folder.name for variant, store in self.stores.items()}
        self.costs = KeptCosts(run / MARKER, keys, write=self.trainer.is_global_zero)
        self.trainer.strategy.barrier()
        self.find_missing()

    def find_missing(self) -> None:
        """Tell the data which shards are done; while any is missing, the stage is not complete."""
        data: ShardedPrompts = datamodule_of(self, ShardedPrompts)
        data.done_shards = {s.index for s in data.shards if not self._missing(s.index, s.split)}
        for store in self.stores.values():
            store.reopen(write=self.trainer.is_global_zero)
        self.trainer.strategy.barrier()

    def _missing(self, shard: int, split: str) -> list[Variant]:
        """The features that this shard still lacks."""
        return [
            variant
            for variant, feature in self.features.items()
            if split in feature.splits and not self.stores[variant].path(shard).exists()
        ]

    @torch.inference_mode(False)
    @torch.no_grad()
    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compute the features of one batch; write the shard when this was its last batch."""
        missing = self._missing(batch["shard"], batch["split"])
        for adapter in (True, False):
            if group := [variant for variant in missing if variant.adapter is adapter]:
                self.compute(group, batch)
        if batch["last_in_shard"]:
            for variant in missing:
                self._write(variant, batch["shard"])

    @abstractmethod
    def compute(self, variants: Sequence[Variant], batch: dict[str, Any]) -> None:
        """Compute features, with the adapter on for all or off for all, and ``collect`` their vectors."""

    def collect(self, variant: Variant, rows: Tensor, vectors: Mapping[str, Tensor]) -> None:
        """Keep the vectors of a batch, with the numbers of their rows, until their shard is complete.

        Raises:
            DataError: a vector is NaN or infinite.
        """
        for site, x in vectors.items():
            require_finite(variant, site, x, rows)
        self._collected.setdefault(variant, []).append({"row": rows, **vectors})

    def _write(self, variant: Variant, shard: int) -> None:
        parts = self._collected.pop(variant)
        vectors = {key: _joined([part[key].cpu() for part in parts]) for key in parts[0]}
        rows = vectors.pop("row")
        self.stores[variant].write(shard, rows, vectors)

    @override
    def teardown(self, stage: str) -> None:
        """Once every process has written its shards, declare the stores complete; also where none was missing."""
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero and not is_trial(self.trainer):
            for store in self.stores.values():
                store.finish()
            self.sign({str(variant): store.folder.name for variant, store in self.stores.items()})
            data: ShardedPrompts = datamodule_of(self, ShardedPrompts)
            if len(data.done_shards) == len(data.shards):
                folder = root_of(self.trainer) / "features"
                message = "this recipe's features have already been computed; delete a store below to do it again"
                print(f"{folder}: {message}", file=sys.stderr)

    def sign(self, keys: dict[str, str]) -> None:
        """Write ``predict.json``, whose presence says that the stage is complete.

        Args:
            keys: of each feature's store.
        """
        content = {"features": keys, "cost": self.costs.rows(), "made_by": provenance()}
        write_json(root_of(self.trainer) / MARKER, content)
        self.costs.close()


def _joined(parts: list[Tensor]) -> Tensor:
    """The rows of all batches; where some use more latents than others, those have latent 0 with value 0."""
    if parts[0].ndim == 1:
        return torch.cat(parts)
    most = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, most - part.shape[1])) for part in parts])
