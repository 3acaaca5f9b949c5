"""Whether a model can stand for what another one was before it was tuned."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer

from madkit.errors import ConfigError
from madkit.lm import loading
from madkit.lm.hooks import layer_names


def require_same_kind(reference: str, lm: Any, tokenizer: Tokenizer, *, trust_remote_code: bool) -> None:
    """Refuse a reference that has other layers or other tokens than the model that was tuned from it.

    Args:
        reference: hub name or folder of the reference.
        lm: the tuned model, or its skeleton.
        tokenizer: the tuned model's.
        trust_remote_code: run code that comes with the reference.

    Raises:
        ConfigError: the two cannot be compared.
    """
    label = f"model.reference={reference!r}"
    other: Any = loading.skeleton(reference, trust_remote_code=trust_remote_code)
    width = lm.get_input_embeddings().embedding_dim
    if layer_names(other) != layer_names(lm) or other.get_input_embeddings().embedding_dim != width:
        raise ConfigError(f"{label} has other layers than model.base: name the model that it was tuned from")
    tokens = loading.load_tokenizer(reference, trust_remote_code=trust_remote_code, argument="model.reference")
    known = tokenizer.get_vocab()
    if different := sorted(token for token, i in tokens.get_vocab().items() if known.get(token) != i):
        raise ConfigError(
            f"{label} has other tokens than model.base, such as {different[0]!r}: name the model that it was tuned from"
        )
