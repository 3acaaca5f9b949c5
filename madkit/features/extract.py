"""The `predict` stage: prompts go through the LM and their features into stores."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import lightning as L
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

import madkit
from madkit.errors import ConfigError
from madkit.features.activations import Activations
from madkit.features.answers import Answers
from madkit.features.base import Feature
from madkit.features.learning import FILE, learn, load_learned, require_finite, save_learned
from madkit.features.passes import read
from madkit.features.store import FeatureStore
from madkit.files import write_json
from madkit.lm import identity, loading
from madkit.run import provenance, root_of


class Extractor(L.LightningModule):
    """Compute features of trusted, untrusted and test prompts and write them to the run's feature stores.

    Each batch takes one forward pass per model (quirky, and base where a feature asks for it), which stops after the
    last site unless a feature needs logits, and one backward pass from the log odds if features need gradients. What
    features learn from trusted prompts is learned in one pass before. What is on disk is not computed again.

    Features made from gradients keep the forward pass of a batch, from their first site on, in memory until its
    backward pass is done; where that is too much, lower ``predict_batch_size`` of the data.

    Args:
        base: hub name or folder of the base model.
        adapter: PEFT folder or hub name of the quirky LM; ``null`` is the run's own ``adapter`` folder and ``none`` the
            base model alone.
        features: what to compute.
        dtype: number format of the base: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``.
        attention: attention implementation of transformers.
        trust_remote_code: run code that comes with the model.
    """

    def __init__(
        self,
        base: str,
        features: list[Feature] | None = None,
        adapter: str | None = None,
        dtype: str = "auto",
        attention: str = "sdpa",
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.features = features if features is not None else [Activations(), Answers()]
        self.adapter = adapter
        self.dtype_name = dtype
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self.model: Any = None
        self.stores: dict[str, FeatureStore] = {}
        self.learned: dict[str, dict[str, Tensor]] = {}
        self._collected: dict[str, list[dict[str, Tensor]]] = {}
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names):
            raise ConfigError(f"model.features={names}: each feature may be listed once")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer."""
        return loading.load_tokenizer(self.base, trust_remote_code=self.trust_remote_code)

    @cached_property
    def adapter_name(self) -> str | None:
        """The adapter that is used: the one named, the run's own, or none."""
        if self.adapter == "none":
            return None
        if self.adapter is not None:
            return self.adapter
        own = root_of(self.trainer) / "adapter"
        if not own.exists():
            raise ConfigError(
                f"model.adapter=null and there is no {str(own)!r}; run `madkit fit` first, "
                "or name an adapter with `--model.adapter` (`none` for the base model alone)"
            )
        return str(own)

    def setup(self, stage: str) -> None:
        """Open the stores and find out what is still to be computed, before any weights are loaded."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        lm = loading.skeleton(self.base, trust_remote_code=self.trust_remote_code)
        if self.adapter_name is None and any(not feature.adapter for feature in self.features):
            raise ConfigError(
                "model.adapter=none: there is no adapter to switch off, so list no feature with adapter=false"
            )
        model = {
            "madkit": madkit.__version__,
            "base": identity.fingerprint(self.base),
            "tokenizer": identity.tokenizer_fingerprint(self.tokenizer),
            "dtype": self.dtype_name,
            "attention": self.attention,
            "prompts": data.identity(),
        }
        adapter = None if self.adapter_name is None else identity.fingerprint(self.adapter_name)
        for feature in self.features:
            feature.prepare(lm, str(model["base"]), root_of(self.trainer))
        self.points = {feature.name: feature.hookpoints(lm) for feature in self.features}
        for feature in self.features:
            sites = feature.sites(lm)
            made_by = {**model, "adapter": adapter, "feature": feature.options(), "sites": sites}
            shards = [s for s in data.shards if s.split in feature.splits]
            root = root_of(self.trainer) / "features" / feature.name
            if self.trainer.is_global_zero:
                FeatureStore.create(root, made_by, sites, shards, data.table, feature.layers(lm), feature.widths(lm))
            self.trainer.strategy.barrier()
            self.stores[feature.name] = FeatureStore(root / FeatureStore.key(made_by))
        # Asked here, because every process has to come to the same answer before one of them has learned anything.
        self._to_learn = [
            feature
            for feature in self.features
            if feature.statistics(lm) and not (self.stores[feature.name].folder / FILE).exists()
        ]
        data.done_shards = {s.index for s in data.shards if not self._wanted(s.index, s.split)}

    def _wanted(self, shard: int, split: str) -> list[Feature]:
        """The features that this shard still lacks."""
        return [f for f in self.features if split in f.splits and not self.stores[f.name].path(shard).exists()]

    def configure_model(self) -> None:
        """Load base and adapter, unless everything has been computed."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.model is not None or len(data.done_shards) == len(data.shards):
            return
        lm = loading.load_causal_lm(
            self.base, dtype=self.dtype_name, attention=self.attention, trust_remote_code=self.trust_remote_code
        )
        self.model = lm if self.adapter_name is None else loading.load_adapter(lm, self.adapter_name)

    def on_predict_start(self) -> None:
        """Let features learn from trusted prompts, unless an interrupted extraction has left that behind."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.model is None:
            return
        if self._to_learn:
            loader = data.loader([s for s in data.shards if s.split == "trusted"])
            batches = (self.trainer.strategy.batch_to_device(batch, self.device) for batch in loader)
            # Numbers as in `predict_step`, should the trainer's precision be mixed.
            with self.trainer.precision_plugin.predict_step_context():
                found = learn(self.model, self._to_learn, self.points, batches)
            if self.trainer.is_global_zero:
                for name, tensors in found.items():
                    save_learned(self.stores[name].folder, tensors)
            self.trainer.strategy.barrier()
        # All processes read the one file, and so does a run that continues: they agree to the last bit.
        for feature in self.features:
            folder = self.stores[feature.name].folder
            self.learned[feature.name] = load_learned(folder, self.device) if (folder / FILE).exists() else {}

    @torch.inference_mode(False)
    @torch.no_grad()
    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compute the features of one batch; write the shard when this was its last batch."""
        features = self._wanted(batch["shard"], batch["split"])
        for adapter in (True, False):
            group = [feature for feature in features if feature.adapter is adapter]
            if group:
                self._read(group, batch)
        if batch["last_in_shard"]:
            for feature in features:
                self._write(feature, batch["shard"])

    def _read(self, features: list[Feature], batch: dict[str, Any]) -> None:
        readings = read(self.model, features, self.points, batch)
        for feature in features:
            reading = readings.pop(feature.name)
            reading.learned = self.learned[feature.name]
            vectors = feature(reading)
            for site, x in vectors.items():
                require_finite(feature.name, site, x, batch["row"])
            self._collected.setdefault(feature.name, []).append({"row": batch["row"], **vectors})

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
            # Last, because its presence says that the whole stage is done.
            made = {name: store.folder.name for name, store in self.stores.items()}
            write_json(root_of(self.trainer) / "predict.json", {"features": made, "made_by": provenance()})
