"""What every extraction does that reads a language model: let features learn, then compute them batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch.utilities.types import EVAL_DATALOADERS
from torch import Tensor, nn
from typing_extensions import override

from madkit.extraction.forward_pass import read_features
from madkit.extraction.store_writer import ShardedPrompts, StoreWriter
from madkit.extraction.trusted_statistics import FILE, has_learned, learn, load_learned, save_learned
from madkit.features.feature import Feature
from madkit.store.shards import Shard
from madkit.store.variant import Variant
from madkit.training.lightning_internals import datamodule_of, is_trial


@runtime_checkable
class LoadedPrompts(ShardedPrompts, Protocol):
    """What the data of an extraction have that reads a language model."""

    def loader(self, shards: Sequence[Shard]) -> EVAL_DATALOADERS:
        """The batches of this process' share of some shards."""


class ModelExtractor(StoreWriter):
    """Compute features of prompts from a language model and write them to the run's feature stores.

    What features learn from trusted prompts is learned in one pass before. A subclass opens the stores in ``setup``, by
    `open_model_stores`, and sees to it that there is a ``model`` before the prediction starts, where something is
    missing.

    Attributes:
        model: the language model, with or without an adapter; None where everything has been computed.
        control: what is read with the adapter off; None for the model with its adapter switched off.
        learned: what each feature learned.
    """

    def __init__(self, features: list[Feature], controls: list[str] | None = None) -> None:
        super().__init__(features, controls)
        self.model: Any = None
        self.control: Any = None
        self.learned: dict[Variant, dict[str, Tensor]] = {}
        self._to_learn: dict[Variant, Feature] = {}

    @property
    def data(self) -> LoadedPrompts:
        """The prompts."""
        data: LoadedPrompts = datamodule_of(self, LoadedPrompts)
        return data

    def open_model_stores(self, lm: nn.Module, model: Mapping[str, Any], adapted: nn.Module | None = None) -> None:
        """Open the stores, see what is to be learned, and find out what is still to be computed; see `open_stores`."""
        self.open_stores(lm, model, adapted)
        # Asked here, because every process has to come to the same answer before one of them has learned anything.
        self._to_learn = {
            variant: feature
            for variant, feature in self.features.items()
            if feature.statistics(lm) and not has_learned(self.stores[variant].folder)
        }
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero and not is_trial(self.trainer):
            self.costs.reopen()
            for variant in self._to_learn:
                store = self.stores[variant]
                if len(store.done()) == len(store.shards):  # it is learned where a shard is computed
                    store.path(store.shards[0].index).unlink()
        self.trainer.strategy.barrier()
        self.find_missing()

    def on_predict_start(self) -> None:
        """Let features learn from trusted prompts, unless an interrupted extraction has left that behind."""
        if self.model is None:
            return
        if self._to_learn:
            loader = self.data.loader([s for s in self.data.shards if s.split == "trusted"])
            batches = (self.trainer.strategy.batch_to_device(batch, self.device) for batch in loader)
            # Numbers as in `predict_step`, should the trainer's precision be mixed.
            with self.trainer.precision_plugin.predict_step_context():
                learned = learn(self.model, self._to_learn, self.hookpoints, batches, self.control)
            if self.trainer.is_global_zero:
                for variant, tensors in learned.items():
                    save_learned(self.stores[variant].folder, tensors)
            self.trainer.strategy.barrier()
        # All processes read the one file, and so does a run that continues: they agree to the last bit.
        for variant, store in self.stores.items():
            file = store.folder / FILE
            self.learned[variant] = load_learned(store.folder, self.device) if file.exists() else {}

    @override
    def compute(self, variants: Sequence[Variant], batch: dict[str, Any]) -> None:
        features = {variant: self.features[variant] for variant in variants}
        read = read_features(self.model, self.control, features, self.hookpoints, self.learned, batch)
        for variant, vectors in read:
            self.collect(variant, batch["row"], vectors)
