"""Load a Hugging Face causal LM and its tokenizer, with errors that name the way out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from madkit.errors import ConfigError
from madkit.lm.loaded_weights import require_complete, require_numbers
from madkit.lm.loading_errors import explained, first_line
from madkit.lm.model_class import implementation_of, model_class
from madkit.lm.probe import check_forward
from madkit.lm.quantisation import BITS, keep_gradients, named_method, quantiser, require_readable
from madkit.lm.text_decoder import text_config
from madkit.runs.gguf_base import base_folder

_DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_dtype(dtype: str) -> torch.dtype | str:
    """The torch dtype that a recipe names; ``auto`` for what is stored, of which some may be quantised."""
    if dtype == "auto" or dtype in BITS:
        return "auto"
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r} is not supported; choose one of {', '.join(['auto', *_DTYPES, *BITS])}")
    return _DTYPES[dtype]


def load_tokenizer(base: str, *, trust_remote_code: bool = False, argument: str = "model.base") -> Tokenizer:
    """The tokenizer of ``base``, with a padding token (the end-of-text token where it has none).

    Args:
        base: a hub name, a local folder or a GGUF file; see `madkit.runs.gguf_base.base_folder`.
        trust_remote_code: run code that comes with it.
        argument: what the user calls ``base``, for error messages.

    Raises:
        ConfigError: ``base`` is neither a folder nor a model on the hub.
    """
    with explained(argument, base, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(base_folder(base, argument), trust_remote_code=trust_remote_code)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(base: str, *, trust_remote_code: bool = False, argument: str = "model.base") -> PretrainedConfig:
    """The architecture of ``base``, without its weights.

    Raises:
        ConfigError: there is no such model, or an adapter lies in its folder.
    """
    if (Path(base) / "adapter_config.json").is_file():  # transformers would put it into the model, unasked
        raise ConfigError(
            f"{argument}={base!r} holds an adapter (adapter_config.json): name the model that it was trained on as the "
            "base and this folder as `--model.adapter`, or take the adapter's files out of the folder"
        )
    with explained(argument, base, "configuration"):
        return AutoConfig.from_pretrained(base_folder(base, argument), trust_remote_code=trust_remote_code)


def load_causal_lm(
    base: str,
    *,
    dtype: str = "auto",
    attention: str = "auto",
    device_map: str | None = None,
    trust_remote_code: bool = False,
    argument: str = "model.base",
) -> PreTrainedModel:
    """The weights of ``base``, in evaluation mode and with its key-value cache off.

    All weights are those of its files, and what madkit will read from the model is what the model computes; see
    `madkit.lm.probe.check_forward`.

    Args:
        base: a hub name, a local folder or a GGUF file; see `madkit.runs.gguf_base.base_folder`.
        dtype: ``auto`` (as stored), ``float64``, ``float32``, ``bfloat16`` or ``float16``; or ``4bit`` or ``8bit``, see
            `madkit.lm.quantisation.quantiser`.
        attention: the attention implementation that transformers should use, such as ``sdpa`` or ``eager``; ``auto``
            is ``sdpa`` where the architecture has it, else ``eager``.
        device_map: how the layers are spread over this process' devices, such as ``auto``; None leaves them together.
        trust_remote_code: run code that comes with the model; off unless the user asks.
        argument: what the user calls ``base``, for error messages.

    Raises:
        ConfigError: the model cannot be loaded, weights are missing or are no numbers, or madkit cannot read it.
    """
    number_format, option, label = resolve_dtype(dtype), _beside(argument, "dtype"), f"{argument}={base!r}"
    quantisation = quantiser(dtype, option)
    if attention != "auto":  # asked for apart, so that it is not mistaken for a broken folder
        skeleton(base, attention=attention, trust_remote_code=trust_remote_code, argument=argument)
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)  # its table of missing weights; `require_complete` says it in a line
    try:
        with explained(argument, base, "model"):
            config = load_config(base, trust_remote_code=trust_remote_code, argument=argument)
            require_readable(config, dtype, option, label)
            with named_method(config, label):
                lm, info = model_class(config).from_pretrained(
                    base_folder(base, argument),
                    dtype=number_format,
                    attn_implementation=implementation_of(attention, config),
                    device_map=device_map,
                    trust_remote_code=trust_remote_code,
                    use_safetensors=True,  # a pickle is never loaded
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # they are listed, and refused below
                    **({} if quantisation is None else {"quantization_config": quantisation}),
                )
    finally:
        logger.setLevel(level)
    require_complete(lm, info, argument, base)
    require_numbers(lm, argument, base)
    keep_gradients(lm)
    for config in (lm.config, text_config(lm)):
        config.use_cache = False
    check_forward(lm.eval(), argument, base)
    return lm


def skeleton(
    base: str, *, attention: str = "auto", trust_remote_code: bool = False, argument: str = "model.base"
) -> PreTrainedModel:
    """The modules of ``base`` without any memory for weights: enough to look up module names.

    Raises:
        ConfigError: there is no such model, or its architecture has no such attention implementation.
    """
    config = load_config(base, trust_remote_code=trust_remote_code, argument=argument)

    def build(implementation: str | None) -> PreTrainedModel:
        with torch.device("meta"):
            return model_class(config).from_config(
                config, trust_remote_code=trust_remote_code, attn_implementation=implementation
            )

    with explained(argument, base, "architecture"):
        try:
            return build(implementation_of(attention, config))
        except (ValueError, ImportError) as error:
            build(None)  # without a choice of attention it fails, too, where that is not to blame
            option = _beside(argument, "attention")
            raise ConfigError(
                f"{option}={attention!r} is not to be had for {base!r} here ({first_line(error)}): use `--{option} "
                "auto` (what the architecture has) or `eager`"
            ) from error


def attention_of(lm: Any) -> str:
    """The attention implementation that a model uses, such as ``sdpa``."""
    return str(text_config(lm)._attn_implementation)


def _beside(argument: str, option: str) -> str:
    """What the user calls another option of the same model.

    Example:
        >>> _beside("model.base", "dtype")
        'model.dtype'
    """
    return ".".join([*argument.split(".")[:-1], option])
