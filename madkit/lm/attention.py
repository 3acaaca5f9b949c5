"""The output projection of an attention layer, whose input is the concatenated outputs of its heads."""

from __future__ import annotations

from typing import Any

from torch import nn

from madkit.errors import ConfigError
from madkit.lm.text_decoder import text_config

OUTPUT_NAMES = ("o_proj", "out_proj", "dense", "wo", "c_proj")


def output_projection(lm: nn.Module, layer: str) -> str:
    """The name of the linear map through which a layer's attention heads reach the residual stream.

    It is the one linear module inside the layer's attention that has one of its usual names. Its input holds the heads
    one after another.

    Args:
        lm: the model, or its skeleton.
        layer: the name of a decoder layer.

    Raises:
        ConfigError: there is not exactly one, or its input does not divide into the model's heads.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> tiny = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 9}
        >>> output_projection(LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, **tiny)), "model.layers.0")
        'model.layers.0.self_attn.o_proj'
    """
    candidates = [
        (name, module)
        for name, module in lm.get_submodule(layer).named_modules()
        if name.split(".")[-1] in OUTPUT_NAMES
        and any("attn" in part or "attention" in part for part in name.split("."))
        if input_width(module) is not None
    ]
    if len(candidates) != 1:
        raise ConfigError(
            f"model.base: {type(lm).__name__} has {len(candidates)} linear output projections of attention in "
            f"{layer!r} (looked for {', '.join(OUTPUT_NAMES)}), and attribution needs one; "
            "leave the feature out for this model"
        )
    name, module = candidates[0]
    width = input_width(module)
    if not width or width % heads(lm):
        raise ConfigError(
            f"model.base: {layer}.{name} takes {width} numbers, which do not divide into "
            f"{heads(lm)} attention heads; leave the feature out for this model"
        )
    return f"{layer}.{name}"


def input_width(module: Any) -> int | None:
    """How many numbers a linear map takes, wrapped by a LoRA or not; None for other modules."""
    # GPT-2's Conv1D is a linear map with a transposed weight.
    return getattr(module, "in_features", getattr(module, "nx", None))


def heads(lm: nn.Module) -> int:
    """Number of attention (query) heads of each layer."""
    return int(text_config(lm).num_attention_heads)
