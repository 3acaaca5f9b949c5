"""Bases whose weights have few bits: because they are quantised when they are loaded, or because their files are."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PretrainedConfig

from madkit.errors import ConfigError, MadkitError
from madkit.lm.loading_errors import first_line

BITS = ("4bit", "8bit")
"""Values of ``dtype`` by which linear maps are quantised when they are loaded."""


def quantiser(dtype: str, option: str) -> BitsAndBytesConfig | None:
    """What quantises the linear maps of the layers as they are loaded; None where they stay as they are.

    ``4bit`` is NF4 with quantised constants, whose products are computed in bfloat16 (QLoRA, arXiv 2305.14314);
    ``8bit`` is LLM.int8 (arXiv 2208.07339). Embeddings, norms and the unembedding stay as they are stored.

    Args:
        dtype: as the user gives it.
        option: what the user calls it.

    Raises:
        ConfigError: the package bitsandbytes is missing.
    """
    if dtype not in BITS:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"{option}={dtype!r} needs the package bitsandbytes: install `madkit-lm[bitsandbytes]`, or say `--{option} "
            "bfloat16`"
        )
    if dtype == "8bit":
        # Its line for each product in bfloat16, which is by design.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )


def quantised_by(config: PretrainedConfig) -> str | None:
    """The method by which the files of a model are quantised, such as ``gptq``; None where they are not."""
    settings: Any = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    plain = settings if isinstance(settings, dict) else settings.to_dict()
    method = plain.get("quant_method")
    if method is None:
        return "bitsandbytes" if plain.get("load_in_4bit") or plain.get("load_in_8bit") else "by an unnamed method"
    return str(getattr(method, "value", method))


def require_readable(config: PretrainedConfig, dtype: str, option: str, label: str) -> None:
    """Refuse a model whose files are quantised in a way that transformers does not know, or that is to be done again.

    Args:
        config: the model's.
        dtype: as the user gives it.
        option: what the user calls it.
        label: the model, as the user gives it.

    Raises:
        ConfigError: naming the method.
    """
    method = quantised_by(config)
    if method is None:
        return
    if dtype in BITS:
        raise ConfigError(f"{option}={dtype!r}: {label} is quantised already ({method}): say `--{option} auto`")
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    # transformers would read its numbers as if they were weights.
    if method not in AUTO_QUANTIZATION_CONFIG_MAPPING and method != "bitsandbytes":
        raise ConfigError(
            f"{label} is quantised ({method}), in a way that transformers does not know: take the model that was not "
            "quantised, or another format of it"
        )


@contextmanager
def named_method(config: PretrainedConfig, label: str) -> Iterator[None]:
    """A context in which whatever a quantised model lacks on this machine becomes one line.

    Args:
        config: the model's.
        label: the model, as the user gives it.

    Raises:
        ConfigError: instead of any exception but one of madkit or about files, of a model that is quantised.
    """
    try:
        yield
    except (MadkitError, torch.OutOfMemoryError, OSError):
        raise
    except Exception as error:
        if (method := quantised_by(config)) is None:
            raise
        raise ConfigError(
            f"{label} is quantised ({method}), which cannot be loaded here: {' '.join(first_line(error).split())}; "
            "install or provide that, or take the model that was not quantised"
        ) from error


def keep_gradients(lm: nn.Module) -> None:
    """Let gradients pass through the linear maps that bitsandbytes has put into a model.

    On a CPU with bfloat16 instructions it packs 4-bit weights anew at the first pass without gradients, and from then
    on its products have none, in training either.
    """
    module: Any
    for module in lm.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_quantised(lm: Any) -> bool:
    """Whether a model's weights are numbers of few bits, which cannot be trained."""
    return bool(getattr(lm, "is_quantized", False))
