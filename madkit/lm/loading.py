"""Load a Hugging Face causal LM and its tokenizer, with errors that name the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from madkit.errors import ConfigError

_DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_dtype(dtype: str) -> torch.dtype | str:
    """The torch dtype that a recipe names (``auto`` stays as it is)."""
    if dtype == "auto":
        return dtype
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r} is not supported; choose one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


@contextmanager
def explained(argument: str, name: str, what: str) -> Iterator[None]:
    """Turn the many exceptions for a missing model into one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            way_out = f"the folder exists but holds no usable {what}: train or download it again"
        else:
            way_out = (
                "it is no local folder and could not be fetched from the Hugging Face hub: check the name, the network "
                "and (for gated models) `hf auth login`, or train a local base first"
            )
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{argument}={name!r}: cannot load the {what}; {way_out} ({reason})") from error


def load_tokenizer(base: str, *, trust_remote_code: bool = False, argument: str = "model.base") -> Tokenizer:
    """The tokenizer of ``base``, with a padding token (the end-of-text token where it has none).

    Args:
        base: a hub name or a local folder.
        trust_remote_code: run code that comes with it.
        argument: what the user calls ``base``, for error messages.

    Raises:
        ConfigError: ``base`` is neither a folder nor a model on the hub.
    """
    with explained(argument, base, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=trust_remote_code)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(base: str, *, trust_remote_code: bool = False, argument: str = "model.base") -> PretrainedConfig:
    """The architecture of ``base``, without its weights."""
    with explained(argument, base, "configuration"):
        return AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code)


def new_config(options: dict[str, Any]) -> PretrainedConfig:
    """An architecture from plain options, such as ``{"model_type": "llama", "hidden_size": 64, ...}``.

    Example:
        >>> new_config({"model_type": "mistral", "hidden_size": 32}).hidden_size
        32
    """
    options = dict(options)
    model_type = options.pop("model_type", None)
    if model_type is None:
        raise ConfigError("model.config has no `model_type`; name an architecture such as llama or mistral")
    try:
        return AutoConfig.for_model(model_type, **options)
    except ValueError as error:
        raise ConfigError(
            f"model.config.model_type={model_type!r} is not an architecture of transformers; "
            "try llama, mistral or gpt_neox"
        ) from error


def load_causal_lm(
    base: str,
    *,
    dtype: str = "auto",
    attention: str = "sdpa",
    device_map: str | None = None,
    trust_remote_code: bool = False,
    argument: str = "model.base",
) -> PreTrainedModel:
    """The weights of ``base``, in evaluation mode and with its key-value cache off.

    Args:
        base: a hub name or a local folder.
        dtype: ``auto`` (as stored), ``float64``, ``float32``, ``bfloat16`` or ``float16``.
        attention: the attention implementation that transformers should use.
        device_map: how the layers are spread over this process' devices, such as ``auto``; None leaves them together.
        trust_remote_code: run code that comes with the model; off unless the user asks.
        argument: what the user calls ``base``, for error messages.
    """
    number_format = resolve_dtype(dtype)
    with explained(argument, base, "model"):
        lm = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=number_format,
            attn_implementation=attention,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,  # a pickle is never loaded
        )
    lm.config.use_cache = False
    return lm.eval()


def skeleton(base: str, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The modules of ``base`` without any memory for weights: enough to look up module names."""
    config = load_config(base, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
