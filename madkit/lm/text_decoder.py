"""The part of a causal LM that turns tokens into hidden states: its configuration, layers, width and limits."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from madkit.errors import ConfigError

_LAYERS: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
_LIMITS: WeakKeyDictionary[nn.Module, int | None] = WeakKeyDictionary()
#: Rows that tables of positions have before position 0.
_MAX_OFFSET = 8


def text_config(lm: Any) -> Any:
    """The configuration of the language model alone; a model that sees or hears keeps it inside its own."""
    config = lm.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def layer_names(lm: nn.Module) -> list[str]:
    """Names of the decoder layers, first to last, for any causal LM that keeps them in one ``ModuleList``.

    Raises:
        ConfigError: the model keeps them otherwise.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> tiny = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 9}
        >>> layer_names(LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **tiny)))
        ['model.layers.0', 'model.layers.1']
    """
    depth = getattr(text_config(lm), "num_hidden_layers", None)
    name = _LAYERS.get(lm)  # the search takes longer than a small model's forward pass
    if name is None or not _is_list_of(lm, name, depth):
        name = _LAYERS[lm] = _list_of_layers(lm, depth)
    return [f"{name}.{i}" for i in range(depth or 0)]


def _list_of_layers(lm: nn.Module, depth: int | None) -> str:
    lists = [(n, m) for n, m in lm.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    # A tower that sees or hears may have as many layers.
    find: Any = getattr(lm, "get_decoder", None)
    inside = {id(module) for module in find().modules()} if find is not None else set()
    for name, _ in sorted(lists, key=lambda item: id(item[1]) not in inside):
        return name
    raise ConfigError(
        f"model.base: {type(lm).__name__} keeps its {depth} layers in no single ModuleList; only such models have sites"
    )


def _is_list_of(lm: nn.Module, name: str, depth: int | None) -> bool:
    """Whether the layers are still where they were found."""
    try:
        layers = lm.get_submodule(name)
    except AttributeError:
        return False
    return isinstance(layers, nn.ModuleList) and len(layers) == depth


def language_modules(lm: Any) -> list[nn.Module]:
    """The modules that hold a causal LM's weights, without those of a tower that sees or hears.

    Args:
        lm: the model, with or without an adapter.
    """
    if text_config(lm) is lm.config:
        return [lm]
    return [lm.get_decoder(), lm.get_input_embeddings(), lm.get_output_embeddings()]


def residual_width(lm: nn.Module) -> int:
    """The length of the vectors that pass from layer to layer."""
    return int(text_config(lm).hidden_size)


def embedding_rows(lm: Any) -> int | None:
    """How many tokens have an embedding; None if the model does not say."""
    weight = getattr(lm.get_input_embeddings(), "weight", None)
    return None if weight is None else int(weight.shape[0])


def position_limit(lm: nn.Module) -> int | None:
    """How many positions a model has that looks them up in a table, learned or not; None if it computes them.

    Rotary positions are computed, whatever ``max_position_embeddings`` says; those of GPT-2, OPT or GPT-J are not.
    """
    if lm not in _LIMITS:
        _LIMITS[lm] = _position_limit(lm)
    return _LIMITS[lm]


def _position_limit(lm: nn.Module) -> int | None:
    config = text_config(lm)
    if getattr(config, "max_seq_len", None) is not None:  # MPT's biases
        return int(config.max_seq_len)
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return None
    tables = [
        x.shape[0]
        for name, x in [*lm.named_parameters(), *lm.named_buffers()]
        if re.search(r"wpe|pos(?!t)", name) and x.ndim == 2 and limit <= x.shape[0] <= limit + _MAX_OFFSET
    ]
    return int(limit) if tables else None
