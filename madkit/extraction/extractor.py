"""The `predict` stage: prompts go through the LM and their features into stores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

import madkit
from madkit.errors import ConfigError
from madkit.extraction.forward_pass import read, switched
from madkit.extraction.store_writer import StoreWriter
from madkit.extraction.trusted_statistics import FILE, learn, load_learned, save_learned
from madkit.features.activations import Activations
from madkit.features.answers import Answers
from madkit.features.feature import Feature
from madkit.lm import loading
from madkit.runs import fingerprints
from madkit.runs.cost import measured
from madkit.runs.folder import root_of


class Extractor(StoreWriter):
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
        super().__init__(features if features is not None else [Activations(), Answers()])
        self.base = base
        self.adapter = adapter
        self.dtype_name = dtype
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self.model: Any = None
        self.learned: dict[str, dict[str, Tensor]] = {}

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
            "base": fingerprints.fingerprint(self.base),
            "tokenizer": fingerprints.tokenizer_fingerprint(self.tokenizer),
            "dtype": self.dtype_name,
            "attention": self.attention,
            "prompts": data.identity(),
            "adapter": None if self.adapter_name is None else fingerprints.fingerprint(self.adapter_name),
        }
        self.open_stores(lm, model)
        # Asked here, because every process has to come to the same answer before one of them has learned anything.
        self._to_learn = [
            feature
            for feature in self.features
            if feature.statistics(lm) and not (self.stores[feature.name].folder / FILE).exists()
        ]

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

    def read(self, features: Sequence[Feature], batch: dict[str, Any]) -> None:
        """One pass of a batch through the model, for all features that read the same one."""
        readings = read(self.model, features, self.points, batch)
        for feature in features:
            reading = readings.pop(feature.name)
            reading.learned = self.learned[feature.name]
            # A feature may run the model again, and then meets it as it was read.
            with switched(self.model, feature.adapter):
                vectors = feature(reading)
            self.collect(feature, batch["row"], vectors)
        for feature in features:
            if feature.name not in self.costs:
                # Once, after a first batch: each feature as if it were the only one.
                self.costs[feature.name] = measured(
                    partial(self._alone, feature, batch), len(batch["row"]), self.device
                )

    def _alone(self, feature: Feature, batch: dict[str, Any]) -> None:
        reading = read(self.model, [feature], self.points, batch)[feature.name]
        reading.learned = self.learned[feature.name]
        with switched(self.model, feature.adapter):
            feature(reading)
