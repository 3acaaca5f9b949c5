"""Prompts of a monitor become token ids: texts as they stand, chats by the tokenizer's template, with one BOS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.errors import ConfigError, DataError
from madkit.lm.text_decoder import position_limit, text_config
from madkit.monitoring.prompt_source import Prompt

#: Tokenizers say so many tokens where they know no limit.
_NO_LIMIT = 10**9


def tokenize(tokenizer: Any, prompts: Sequence[Prompt], max_length: int) -> TokenizedPrompts:
    """Token ids of prompts, each ending where the model is to begin.

    A chat is written out by the tokenizer's template, up to where the assistant's reply begins, or, where the last
    message is the assistant's, to its end. What the tokenizer puts in front of a text (BOS) is there once, also where
    the text or the template begins with it; what it appends (EOS) is left out.

    Args:
        tokenizer: any Hugging Face tokenizer.
        prompts: n texts or chats.
        max_length: longer prompts lose tokens on the left, after what the tokenizer puts in front.

    Returns:
        The prompts, without choices: those are (n, 0).

    Raises:
        ConfigError: the tokenizer has no template and there are chats; or `max_length` is below 2.
        DataError: a prompt has no token.
    """
    if max_length < 2:
        raise ConfigError(f"max_length={max_length} leaves no room for a prompt: use at least 2")
    texts = [prompt if isinstance(prompt, str) else written_out(tokenizer, prompt) for prompt in prompts]
    begun = [bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token) for text in texts]
    parts: list[list[int]] = [[] for _ in texts]
    cut = 0
    for has_bos in (False, True):
        which = [i for i, there in enumerate(begun) if there is has_bos]
        if not which:
            continue
        encoded = tokenizer(
            [texts[i] for i in which],
            add_special_tokens=not has_bos,
            return_attention_mask=False,
            return_special_tokens_mask=True,
            verbose=False,
        )
        for i, ids, special in zip(which, encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
            first, end = _inside(special) if not has_bos else (1, len(ids))
            if end <= first:
                raise DataError(f"prompt {texts[i][:40]!r} has no token: leave it out")
            kept = max(first, end - max_length + first)
            cut += kept > first
            parts[i] = ids[:first] + ids[kept:end]
    if cut:
        rank_zero_warn(
            f"{cut} of {len(texts)} prompts are longer than max_length={max_length} and lose their beginning"
        )
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    flat = np.fromiter(chain.from_iterable(parts), dtype=np.int32, count=int(starts[-1]))
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    return TokenizedPrompts(flat, starts, np.zeros((len(parts), 0), dtype=np.int64), int(pad))


def _inside(special: Sequence[int]) -> tuple[int, int]:
    """Where what the tokenizer puts in front ends, and where what it appends begins."""
    first, end = 0, len(special)
    while first < end and special[first]:
        first += 1
    while end > first and special[end - 1]:
        end -= 1
    return first, end


def written_out(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """A chat as the text that the model reads.

    Raises:
        ConfigError: the tokenizer has no template.
        DataError: its template does not take these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError("these prompts are messages and the tokenizer has no chat template: give texts as `prompt`")
    reply = messages[-1]["role"] != "assistant"
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=reply))
    except Exception as error:  # a template raises what it likes
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"the tokenizer's chat template does not take {str(list(messages))[:60]!r}... ({reason})"
        ) from None


def longest(tokenizer: Any, lm: Any) -> int:
    """How many tokens a prompt may have: the model's context, or the tokenizer's limit where that is less."""
    limits = [
        getattr(text_config(lm), name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")
    ]
    limits.append(getattr(tokenizer, "model_max_length", None))
    known = [int(limit) for limit in limits if limit is not None and limit < _NO_LIMIT]
    return min(known, default=1024)


def prompt_limit(tokenizer: Any, lm: Any, max_length: int | None, new_tokens: int) -> int:
    """How many tokens a prompt may have, so that a response finds room after it.

    That is a question of models that look positions up in a table, which ends; others go on, as far as they can.

    Args:
        tokenizer: the model's.
        lm: the model.
        max_length: what is asked for; None for as many as there may be.
        new_tokens: how many tokens a response has at most.

    Raises:
        ConfigError: there is no room.
    """
    positions = position_limit(lm)
    if not new_tokens or positions is None:
        return longest(tokenizer, lm) if max_length is None else max_length
    room = positions - new_tokens
    if room < 2:
        raise ConfigError(
            f"new_tokens={new_tokens} leaves no room for a prompt in the {positions} positions that "
            f"{type(lm).__name__} has: give {positions - 2} or fewer"
        )
    if max_length is not None and max_length > room:
        raise ConfigError(
            f"max_length={max_length} and new_tokens={new_tokens} are more than the {positions} positions that "
            f"{type(lm).__name__} has: give a max_length of {room} or less"
        )
    return min(longest(tokenizer, lm), room) if max_length is None else max_length
