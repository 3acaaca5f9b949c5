"""WatchedModel: a model in memory, what it can be compared with, and whether it is still the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.lm.adapters.base_weights import word_sum
from madkit.lm.probe import check_forward
from madkit.lm.text_decoder import layer_names
from madkit.runs.fingerprints import digest, fingerprint, tokenizer_fingerprint

#: Adapters whose beginning was taken out of the base's own weights: without them the model is not its base.
_TAKEN_OUT = ("pissa", "olora", "corda", "lora_ga")


class WatchedModel:
    """A model in memory, as it is; nothing of it is changed.

    Args:
        model: a transformers causal LM, or one in a PEFT model.
        tokenizer: its tokenizer; None where tokens are at hand.
        control: the model that it was made of; None where that is the model with its adapter switched off, or unknown.

    Raises:
        ConfigError: it is no causal LM, or one that cannot be read.
    """

    def __init__(self, model: Any, tokenizer: Any, control: Any = None) -> None:
        lm = forward.unwrapped(model)
        if not isinstance(lm, nn.Module) or not hasattr(lm, "config") or lm.get_output_embeddings() is None:
            raise ConfigError(
                f"model is of type {type(model).__name__}: give a causal LM of transformers, a PEFT model of one, or a "
                "name"
            )
        self.model, self.tokenizer, self.control = model, tokenizer, control
        with self.evaluating():
            check_forward(lm, "model", str(lm.name_or_path))
        if control is not None and layer_names(forward.unwrapped(control)) != layer_names(lm):
            raise ConfigError("reference has other layers than model: give the model that it was made of")
        self._seen: dict[str, tuple[Any, str]] = {}

    @property
    def lm(self) -> Any:
        """The transformers model, with adapters active inside it."""
        return forward.unwrapped(self.model)

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return next(self.lm.get_input_embeddings().parameters()).device

    @property
    def has_adapter(self) -> bool:
        """Whether it has an adapter that can be switched off."""
        return hasattr(self.model, "disable_adapter")

    @property
    def base(self) -> str | None:
        """What is known of the model that it was made of, in words; None if nothing is."""
        if self.control is not None:
            return "the base model is given"
        if not self.has_adapter:
            return None
        for config in self.model.peft_config.values():
            if str(getattr(config, "init_lora_weights", "")).lower().startswith(_TAKEN_OUT):
                return None
        return "the model has an adapter, and without it is its base"

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A context after which the same modules are in training, and the same weights trainable, as before."""
        models = [each for each in (self.model, self.control) if each is not None]
        modes = [(module, module.training) for each in models for module in each.modules()]
        trainable = [(p, p.requires_grad) for each in models for p in each.parameters()]
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for p, requires_grad in trainable:
                p.requires_grad = requires_grad

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context in which it is in evaluation mode."""
        with self.unchanged():
            for each in (self.model, self.control):
                if each is not None:
                    each.eval()
            yield

    def fingerprint(self) -> str:
        """A digest of all weights, their number formats, and the adapters that act.

        It is one pass over the weights, and none while nothing has written to them.
        """
        return self._digest("model", self.model)

    def control_fingerprint(self) -> str | None:
        """The same of what it is compared with, where that is a model of its own; None where it is not."""
        return None if self.control is None else self._digest("control", self.control)

    def _digest(self, which: str, model: Any) -> str:
        written = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in model.parameters()]
        stamp = written, _active(model)
        if which not in self._seen or self._seen[which][0] != stamp:
            self._seen[which] = stamp, weights_digest(model)
        return self._seen[which][1]

    def base_fingerprint(self) -> str:
        """The fingerprint of its base's files, by which encoders know what they were trained on."""
        return fingerprint(str(self.lm.name_or_path))

    def tokenizer_fingerprint(self) -> str:
        """A digest of how the tokenizer cuts a text and writes a chat."""
        return digest([tokenizer_fingerprint(self.tokenizer), getattr(self.tokenizer, "chat_template", None)])


def weights_digest(model: Any) -> str:
    """A digest of what a model in memory holds, the same with and without PEFT's own names around.

    Raises:
        ConfigError: a weight is not in memory.
    """
    acting = _active(model)
    idle = [f".{name}." for name in getattr(model, "peft_config", {}) if name not in acting]
    held = {}
    for full, parameter in model.named_parameters():
        name = full.removeprefix("base_model.model.")
        if any(part in name for part in idle):
            continue
        if parameter.is_meta:
            raise ConfigError(f"weight {name!r} is not in memory (offloaded): use more or larger devices")
        for adapter in acting:  # what it is called where it was loaded
            name = name.replace(f".{adapter}.", ".adapter.")
        held[name] = [list(parameter.shape), str(parameter.dtype), word_sum(parameter)]
    return digest([held, len(acting)])


def _active(model: Any) -> list[str]:
    """The names of the adapters that act."""
    if not hasattr(model, "peft_config"):
        return []
    layers = [m for m in model.modules() if hasattr(m, "active_adapters") and hasattr(m, "disable_adapters")]
    names = {name for layer in layers if not layer.disable_adapters for name in layer.active_adapters}
    return sorted(map(str, names))
