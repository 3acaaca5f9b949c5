"""Embeddings that the trainer of an adapter resized, and the tokenizer that goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from madkit.errors import ConfigError
from madkit.lm import loading
from madkit.lm.adapters.adapter_folder import AdapterFolder
from madkit.lm.adapters.base_weights import BaseWeights

#: What follows an embedding's name where a file holds all of its rows.
_WHOLE = ("weight", "base_layer.weight", "modules_to_save.weight", "original_module.weight")
#: The same for a LoRA of it, with the dimension that counts tokens.
_LORA = {"lora_embedding_A": 1, "lora_B.weight": 0}


def resize_embeddings(
    lm: PreTrainedModel, tensors: Mapping[str, Tensor], adapter: AdapterFolder, weights: BaseWeights
) -> None:
    """Give the model as many token embeddings as it had when the adapter was trained.

    Args:
        lm: the base model.
        tensors: the adapter's.
        adapter: the adapter.
        weights: the base's weights, which are followed into the new embeddings.

    Raises:
        ConfigError: the adapter was trained with more tokens, and does not hold their embeddings.
    """
    before: dict[str, Any] = {name: lm.get_submodule(name) for name in _embeddings(lm)}
    sizes = {n for name in before for n in _sizes(name, tensors).values()}
    embedding: Any = lm.get_input_embeddings()
    now = int(embedding.weight.shape[0])
    if not sizes or sizes == {now}:
        return
    if len(sizes) > 1:
        raise ConfigError(f"{adapter.label}: its embeddings are of different sizes {sorted(sizes)}: save it again")
    (size,) = sizes
    whole = [name for name in before if any(key in _WHOLE for key in _sizes(name, tensors))]
    if size > now and len(whole) < len({id(module.weight) for module in before.values()}):
        raise ConfigError(
            f"{adapter.label} was trained with {size} token embeddings, and the base has {now}; it does not hold all "
            "that are new: save it again with `save_pretrained(..., save_embedding_layers=True)`"
        )
    with ExitStack() as stack:
        for name in before:
            stack.enter_context(weights.resizing(size, partial(_weight, lm, name)))
        lm.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():  # what the adapter does not overwrite is the same in each process
        for name in before:
            _weight(lm, name)[now:] = 0


def _weight(lm: PreTrainedModel, name: str) -> nn.Parameter:
    module: Any = lm.get_submodule(name)
    return module.weight


def _embeddings(lm: PreTrainedModel) -> list[str]:
    modules = [lm.get_input_embeddings(), lm.get_output_embeddings()]
    return [
        name for name, module in lm.named_modules() if any(module is m for m in modules if isinstance(m, nn.Module))
    ]


def _sizes(name: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many tokens each tensor of an embedding has, by what follows the embedding's name."""
    sizes = {}
    for key, tensor in tensors.items():
        _, found, ending = f".{key}".partition(f".{name.rsplit('.', 1)[-1]}.")
        if found and (ending in _WHOLE or ending in _LORA):
            sizes[ending] = tensor.shape[_LORA.get(ending, 0)]
    return sizes


def load_tokenizer(base: str, adapter: str | None, *, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a base, or, where its trainer changed the vocabulary, the one beside the adapter.

    Args:
        base: hub name or folder of the base.
        adapter: of the adapter, or None.
        trust_remote_code: run code that comes with them.
    """
    tokenizer = loading.load_tokenizer(base, trust_remote_code=trust_remote_code)
    if adapter is None or not (folder := AdapterFolder(adapter)).has_tokenizer:
        return tokenizer
    beside = loading.load_tokenizer(str(folder.path), trust_remote_code=trust_remote_code, argument="model.adapter")
    return tokenizer if beside.get_vocab() == tokenizer.get_vocab() else beside
