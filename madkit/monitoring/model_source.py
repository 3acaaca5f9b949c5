"""ModelSource: where the model that is watched comes from, as users of transformers name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info

from madkit.errors import ConfigError, StoreError
from madkit.extraction.reference import require_same_kind
from madkit.lm import adapters, loading
from madkit.monitoring.watched_model import WatchedModel


@dataclass(frozen=True)
class ModelSource:
    """A model by name.

    Args:
        model: hub name, folder or GGUF file of a whole model, or of the base of an adapter.
        adapter: folder or hub name of a PEFT adapter on it.
        adapter_base: what the adapter calls its base, where that is `model` under another name.
        reference: of a model that is tuned in all its weights, or merged: the model that it was made of.
        dtype: number format of the weights: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``.
        attention: attention implementation of transformers.
        device_map: how the layers are spread over devices, such as ``auto`` for several GPUs; None for one device, the
            first GPU where there is one.
        revision: branch, tag or commit of `model` on the hub; ``name@revision`` says the same, for each name.
        trust_remote_code: run code that comes with the model.
        doubted: whether a file alone has said so, and nobody who reads it: such a model is not opened.
    """

    model: str
    adapter: str | None = None
    adapter_base: str | None = None
    reference: str | None = None
    dtype: str = "auto"
    attention: str = "auto"
    device_map: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    doubted: bool = False

    @classmethod
    def read(cls, said: Mapping[str, Any], trust_remote_code: bool) -> ModelSource:
        """What `plain` has written, in a file that may be anybody's.

        Args:
            said: the content of the file.
            trust_remote_code: whether whoever reads it wants code that comes with the model, too.
        """
        source = cls(**said)
        return replace(source, doubted=bool(source.trust_remote_code) and not trust_remote_code)

    def plain(self) -> dict[str, Any]:
        """What differs from the defaults, for a file; local paths are absolute."""
        said = {key: value for key, value in asdict(self).items() if value is not None and key != "doubted"}
        for key in ("model", "adapter", "reference"):
            if key in said and Path(said[key]).exists():
                said[key] = str(Path(said[key]).absolute())
        return said

    @property
    def name(self) -> str:
        """The model's name, with its revision."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"

    def open(self, device: torch.device | str | None = None) -> WatchedModel:
        """Load the model, its adapter, and what it is compared with.

        Args:
            device: where it is to be; None for the first GPU, or the CPU.

        Raises:
            ConfigError: a part cannot be had, or they do not belong together.
            StoreError: code that comes with the model is doubted.
        """
        adapter = self.adapter
        if adapter is not None:
            adapters.require_readable(adapter, "adapter")
        lm = self._load(self.name, "model")
        tokenizer = adapters.load_tokenizer(self.name, adapter, trust_remote_code=self.trust_remote_code)
        model, control = lm, None
        if self.reference is not None:
            require_same_kind(self.reference, lm, tokenizer, trust_remote_code=self.trust_remote_code)
            control = self.open_control(device)
        if adapter is not None and control is not None:
            model = adapters.load_adapter(lm, adapter, accepted_base=self.adapter_base, argument="adapter")
        elif adapter is not None:
            model, fault = adapters.load_adapted(lm, adapter, accepted_base=self.adapter_base, argument="adapter")
            if fault is not None:
                rank_zero_info(f"The base is loaded a second time, because {fault}.")
                control = self.open_control(device)
        return WatchedModel(self._placed(model, device), tokenizer, control)

    def open_control(self, device: torch.device | str | None = None) -> Any:
        """Load what the model is compared with, where that is a model of its own.

        Args:
            device: as for `open`.

        Raises:
            ConfigError: it cannot be had.
            StoreError: code that comes with the model is doubted.
        """
        if self.reference is not None:
            return self._placed(self._load(self.reference, "reference"), device)
        return self._placed(self._load(self.name, "model"), device)

    def _placed(self, model: Any, device: torch.device | str | None) -> Any:
        if self.device_map is not None or getattr(model, "is_quantized", False):  # which is where it was made
            return model
        return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def _load(self, name: str, argument: str) -> Any:
        if self.doubted:
            raise StoreError(
                f"this monitor asks for code that comes with its model {self.model!r}, and a folder of somebody else "
                "may name any: read that code, then say trust_remote_code=True (--trust_remote_code true)"
            )
        return loading.load_causal_lm(
            name,
            dtype=self.dtype,
            attention=self.attention,
            device_map=self.device_map,
            trust_remote_code=self.trust_remote_code,
            argument=argument,
        )


def watched_model(
    model: Any, tokenizer: Any, *, adapter: str | None = None, reference: Any = None, **loading: Any
) -> tuple[WatchedModel, ModelSource | None]:
    """A model that a user gives, and where it is from if it was named.

    Args:
        model: a transformers or PEFT model in memory, or a name.
        tokenizer: its tokenizer; None to load it with a model that is named.
        adapter: of a model that is named: its adapter.
        reference: the model that it was made of; in memory, or by name.
        loading: further options of `ModelSource`.

    Raises:
        ConfigError: they do not fit together, or a part cannot be had.
    """
    if isinstance(model, str | Path):
        if reference is not None and not isinstance(reference, str | Path):
            raise ConfigError(
                "reference is a model in memory and model is a name: give both by name, or both in memory"
            )
        named = None if reference is None else str(reference)
        source = ModelSource(str(model), adapter=adapter, reference=named, **loading)
        watched = source.open()
        if tokenizer is not None:
            watched = WatchedModel(watched.model, tokenizer, watched.control)
        return watched, source
    if given := sorted({"adapter": adapter, **loading}.items() - {("adapter", None)}):
        raise ConfigError(f"model is in memory, so {given[0][0]}={given[0][1]!r} does nothing: leave it out")
    control = ModelSource(str(reference)).open().model if isinstance(reference, str | Path) else reference
    if not callable(tokenizer) or not hasattr(tokenizer, "pad_token_id"):
        raise ConfigError(f"tokenizer is of type {type(tokenizer).__name__}: give the model's tokenizer")
    return WatchedModel(model, tokenizer, control), None
