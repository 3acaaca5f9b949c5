"""ModelLoader: one model in memory at a time."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import torch

from madkit.errors import MadkitError
from madkit.lm import adapters, loading
from madkit.poser.benchmark.model_pairs import PairedModel
from madkit.runs import fingerprints
from madkit.runs.fingerprints import digest
from madkit.runs.on_this_machine import on_this_machine


class ModelLoader:
    """Loads one model at a time: the one before is freed first.

    Args:
        dtype: number format.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        device_map: how a model is spread over devices; None for one device.
        trust_remote_code: run code that comes with the models.
        adapter_base: what adapters call their base, if it is known to be the one that is named.
    """

    def __init__(
        self,
        dtype: str,
        attention: str,
        device_map: str | None,
        trust_remote_code: bool,
        adapter_base: str | None = None,
    ) -> None:
        self.adapter_base = adapter_base
        self.options: dict[str, Any] = {
            "dtype": dtype, "attention": attention, "device_map": device_map, "trust_remote_code": trust_remote_code,
        }  # fmt: skip
        self._loaded: str | None = None
        self._model: Any = None
        self._tokenizers: dict[str, Any] = {}
        self._fingerprints: dict[str, str] = {}
        self._bases: dict[str, str] = {}

    @torch.inference_mode(False)  # weights loaded in inference mode could not be moved in place outside of it
    def load(self, model: PairedModel, device: torch.device) -> Any:
        """The model in evaluation mode, with its adapter active where it has one; kept until another one is loaded."""
        if self._loaded != model.name:
            self._model = self.load_base(model, device)
            if model.base is not None:
                self._model = adapters.load_adapter(
                    self._model, model.path, accepted_base=self.adapter_base, argument=f"models: {model.name}"
                )
            self._loaded = model.name
        return self._model

    @torch.inference_mode(False)  # weights loaded in inference mode could not be moved in place outside of it
    def load_base(self, model: PairedModel, device: torch.device) -> Any:
        """The model without its adapter; not kept."""
        self.release()
        lm: Any = loading.load_causal_lm(model.base or model.path, **self.options).requires_grad_(False)
        return lm if self.options["device_map"] is not None else lm.to(device)

    def release(self) -> None:
        """Free the model that is kept."""
        self._model, self._loaded = None, None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def tokenizer(self, model: PairedModel) -> Any:
        """The tokenizer of the model or of its base, or the adapter's where that was trained with more tokens."""
        if model.name not in self._tokenizers:
            remote, adapter = self.options["trust_remote_code"], None if model.base is None else model.path
            tokenizer = adapters.load_tokenizer(model.base or model.path, adapter, trust_remote_code=remote)
            self._tokenizers[model.name] = tokenizer
        return self._tokenizers[model.name]

    def fingerprint(self, model: PairedModel) -> str:
        """Which weights and tokenizer exactly, found out once; from the hub, this fetches the weights."""
        if model.name not in self._fingerprints:
            weights = [self.base_fingerprint(model)]
            if model.base is not None:
                weights.append(fingerprints.adapter_fingerprint(model.path))
            tokenizer = fingerprints.tokenizer_fingerprint(self.tokenizer(model))
            self._fingerprints[model.name] = digest([*weights, tokenizer])
        return self._fingerprints[model.name]

    def fingerprint_here(self, model: PairedModel) -> str | None:
        """The same, for which nothing is fetched; None where the model cannot be read on this machine."""
        path, base = on_this_machine(model.path), None if model.base is None else on_this_machine(model.base)
        if path is None or (base is None and model.base is not None):
            return None
        try:
            return self.fingerprint(replace(model, path=path, base=base))
        except MadkitError:  # an unfinished folder, or a package that is not installed
            return None

    def base_fingerprint(self, model: PairedModel) -> str:
        """Which weights exactly `load_base` loads."""
        name = model.base or model.path
        if name not in self._bases:
            self._bases[name] = fingerprints.fingerprint(name)
        return self._bases[name]
