"""The `predict` stage: prompts go through the LM and their features into stores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase as Tokenizer
from typing_extensions import override

import madkit
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError
from madkit.extraction.forward_pass import reading, switched, trace
from madkit.extraction.model_extractor import ModelExtractor
from madkit.extraction.reference import require_same_kind
from madkit.extraction.template_match import warn_of_wording
from madkit.features.activations import Activations
from madkit.features.answers import Answers
from madkit.features.feature import Feature
from madkit.lm import adapters, loading
from madkit.runs import fingerprints
from madkit.runs.cost import measured
from madkit.runs.folder import root_of
from madkit.store.variant import ADAPTER_WEIGHTS, Variant
from madkit.training.lightning_internals import datamodule_of

#: Prompts, at most, of which a feature's cost is measured: a batch as large as it is where no recipe says otherwise.
_TIMED = 64


class Extractor(ModelExtractor):
    """Compute features of trusted, untrusted and test prompts and write them to the run's feature stores.

    Each batch takes one forward pass, and one more with the adapter switched off if there are controls. A pass stops
    after the last site unless a feature needs logits, and one backward pass from the log odds follows it if features
    need gradients. What features learn from trusted prompts is learned in one pass before. What is on disk is not
    computed again.

    Features made from gradients keep the forward pass of a batch, from their first site on, in memory until its
    backward pass is done; where that is too much, lower ``predict_batch_size`` of the data.

    Args:
        base: hub name or folder of the base model.
        adapter: PEFT folder or hub name of the quirky LM, in which ``{dataset}`` stands for the name of the dataset;
            ``null`` is the run's ``adapter`` folder and ``none`` the base model alone.
        adapter_base: name or fingerprint of the base that the adapter was trained on, if ``base`` has the same weights
            and nothing says so.
        reference: hub name or folder of the model that controls are read from; null for the base, which is the model
            with its adapter switched off. Where it is not, because the adapter changed the base's own weights, the
            base is loaded a second time. Name it for a model that was tuned in all its weights.
        features: what to compute; null for activations and answers.
        controls: names of features to compute with the adapter switched off, too, as ``activations``: what detectors
            find there is not the quirk.
        dtype: number format of the base: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``, ``4bit``,
            ``8bit``.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        trust_remote_code: run code that comes with the model.
    """

    def __init__(
        self,
        base: str,
        features: list[Feature] | None = None,
        controls: list[str] | None = None,
        adapter: str | None = None,
        adapter_base: str | None = None,
        reference: str | None = None,
        dtype: str = "auto",
        attention: str = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(features if features is not None else [Activations(), Answers()], controls)
        self.base = base
        self.adapter = adapter
        self.adapter_base = adapter_base
        self.reference = reference
        self.dtype_name = dtype
        self.attention = attention
        self.trust_remote_code = trust_remote_code

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer, or the adapter's where that was trained with more tokens."""
        return adapters.load_tokenizer(self.base, self.adapter_name, trust_remote_code=self.trust_remote_code)

    @cached_property
    def adapter_name(self) -> str | None:
        """The adapter that is used: the one named, the run's, or none."""
        if self.adapter == "none":
            return None
        if self.adapter is not None:
            return self.adapter.replace("{dataset}", self.data.dataset)
        path = root_of(self.trainer) / "adapter"
        if not path.exists() and (whole := path.with_name("model")).exists():
            raise ConfigError(
                f"model.adapter=null and {str(whole)!r} was tuned in all its weights: say `--model.base {whole} "
                "--model.adapter none`, with `--model.reference` for its controls"
            )
        if not path.exists():
            raise ConfigError(
                f"model.adapter=null and there is no {str(path)!r}; run `madkit fit` first, "
                "or name an adapter with `--model.adapter` (`none` for the base model alone)"
            )
        return str(path)

    @property
    @override
    def data(self) -> QuirkyData:
        """The prompts."""
        data: QuirkyData = datamodule_of(self, QuirkyData)
        return data

    def setup(self, stage: str) -> None:
        """Open the stores and find out what is still to be computed, before any weights are loaded."""
        lm = loading.skeleton(self.base, attention=self.attention, trust_remote_code=self.trust_remote_code)
        if self.adapter_name is not None:
            adapters.require_readable(self.adapter_name)
            warn_of_wording(self.adapter_name, self.data)
        self._check_control(lm)
        model = {
            "madkit": madkit.__version__,
            "base": fingerprints.fingerprint(self.base),
            # That which cuts the prompts, where data.tokenizer names another than the base's.
            "tokenizer": fingerprints.tokenizer_fingerprint(self.data.tokenizer),
            "dtype": self.dtype_name,
            "precision": str(self.trainer.precision),
            "attention": loading.attention_of(lm),
            "prompts": self.data.identity(),
            "adapter": None if self.adapter_name is None else fingerprints.adapter_fingerprint(self.adapter_name),
        }
        if self.reference is not None:
            model["reference"] = fingerprints.fingerprint(self.reference)
        self.open_model_stores(lm, model, self._adapted(lm))

    def _adapted(self, lm: nn.Module) -> nn.Module | None:
        """A skeleton with the adapter's modules, where a feature looks at them."""
        if self.adapter_name is None or not any(ADAPTER_WEIGHTS in f.needs for f in self.features.values()):
            return None
        return adapters.adapted_skeleton(lm, self.adapter_name)

    def configure_model(self) -> None:
        """Load base and adapter, unless everything has been computed."""
        if self.model is not None or len(self.data.done_shards) == len(self.data.shards):
            return
        lm = self._load(self.base, "model.base")
        controls = not all(variant.adapter for variant in self.features)
        fault = None
        if self.adapter_name is None:
            self.model = lm
        elif not controls or self.reference is not None:
            self.model = adapters.load_adapter(lm, self.adapter_name, accepted_base=self.adapter_base)
        else:
            self.model, fault = adapters.load_adapted(lm, self.adapter_name, accepted_base=self.adapter_base)
        if controls and self.reference is not None:
            self.control = self._load(self.reference, "model.reference")
        elif fault is not None:
            rank_zero_info(f"Controls are read from the base, loaded a second time, because {fault}.")
            self.control = self._load(self.base, "model.base")

    def _load(self, name: str, argument: str) -> Any:
        return loading.load_causal_lm(
            name,
            dtype=self.dtype_name,
            attention=self.attention,
            trust_remote_code=self.trust_remote_code,
            argument=argument,
        )

    def _check_control(self, lm: nn.Module) -> None:
        """Refuse controls of which there is no model, or one of another kind."""
        if self.reference is None:
            if self.adapter_name is None and not all(variant.adapter for variant in self.features):
                raise ConfigError(
                    "model.adapter=none: there is no adapter to switch off, so leave model.controls empty, or name the "
                    "model to compare with as `--model.reference`"
                )
            return
        require_same_kind(self.reference, lm, self.tokenizer, trust_remote_code=self.trust_remote_code)

    @override
    def compute(self, variants: Sequence[Variant], batch: dict[str, Any]) -> None:
        super().compute(variants, batch)
        for variant in variants:
            if variant not in self.costs:
                # Once, after a first batch: each feature as if it were the only one.
                some = {key: x[:_TIMED] if isinstance(x, Tensor) else x for key, x in batch.items()}
                cost = measured(partial(self._alone, variant, some), len(some["row"]), self.device)
                self.costs.add(variant, cost)

    def _alone(self, variant: Variant, batch: dict[str, Any]) -> None:
        feature = self.features[variant]
        lm, switch = reading(self.model, self.control, variant.adapter)
        part = trace(lm, [feature], self.hookpoints, batch, adapter=switch)[feature.name]
        part.learned = self.learned[variant]
        with switched(lm, switch):
            feature(part)
