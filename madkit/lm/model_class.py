"""What builds a model of an architecture, and with which attention."""

from __future__ import annotations

from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PretrainedConfig,
)


def model_class(config: PretrainedConfig) -> Any:
    """What builds a model; some that see have a language model inside, and are none to transformers."""
    seeing = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING
    first, second = (type(config) in mapping for mapping in seeing)
    return AutoModelForImageTextToText if first and not second else AutoModelForCausalLM


def implementation_of(attention: str, config: PretrainedConfig) -> str | None:
    """The attention implementation as transformers takes it: None for the best that the architecture has.

    ``sdpa`` knows no soft caps, and transformers up to 5.18 would take it for Gemma 2 all the same, and leave them out.
    """
    if attention != "auto":
        return attention
    return "eager" if getattr(config.get_text_config(decoder=True), "attn_logit_softcapping", None) else None
