"""The one model that is in memory."""

from __future__ import annotations

import gc
from typing import Any

import torch

from madkit.lm import loading
from madkit.poser.benchmark.pairs import Model
from madkit.runs import fingerprints
from madkit.runs.fingerprints import digest


class ModelHolder:
    """Loads models, one at a time: what was there before is let go first.

    Args:
        dtype: number format.
        attention: attention implementation of transformers.
        device_map: how a model is spread over devices; None for one device.
        trust_remote_code: run code that comes with the models.
    """

    def __init__(self, dtype: str, attention: str, device_map: str | None, trust_remote_code: bool) -> None:
        self.options: dict[str, Any] = {
            "dtype": dtype, "attention": attention, "device_map": device_map, "trust_remote_code": trust_remote_code,
        }  # fmt: skip
        self._held: str | None = None
        self._model: Any = None
        self._fingerprints: dict[str, str] = {}

    @torch.inference_mode(False)  # weights made in inference mode could not be moved in place outside of it
    def get(self, model: Model, device: torch.device) -> Any:
        """The model in evaluation mode, with its adapter active where it has one."""
        if self._held != model.name:
            self._model = self._load(model, device)
            if model.base is not None:
                self._model = loading.load_adapter(self._model, model.place)
            self._held = model.name
        return self._model

    def bare(self, model: Model, device: torch.device) -> Any:
        """The model without its adapter. Nothing is held afterwards."""
        return self._load(model, device)

    def release(self) -> None:
        """Let go of the model."""
        self._model, self._held = None, None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def tokenizer(self, model: Model) -> Any:
        """The tokenizer of the model or of its base."""
        name = model.base or model.place
        return loading.load_tokenizer(name, trust_remote_code=self.options["trust_remote_code"])

    def fingerprint(self, model: Model) -> str:
        """Which exact weights these are; from the hub, this fetches them."""
        names = [name for name in (model.base, model.place) if name is not None]
        for name in names:
            if name not in self._fingerprints:
                self._fingerprints[name] = fingerprints.fingerprint(name)
        return digest([self._fingerprints[name] for name in names])

    @torch.inference_mode(False)  # weights made in inference mode could not be moved in place outside of it
    def _load(self, model: Model, device: torch.device) -> Any:
        self.release()
        lm: Any = loading.load_causal_lm(model.base or model.place, **self.options).requires_grad_(False)
        return lm if self.options["device_map"] is not None else lm.to(device)
