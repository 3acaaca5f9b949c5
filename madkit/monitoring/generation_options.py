"""How a model is to answer: options of ``generate``, which are tried before anything is learned of answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteriaList

from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.errors import ConfigError
from madkit.lm.loading_errors import first_line
from madkit.monitoring.watched_model import WatchedModel

#: What a monitor gives itself.
_OURS = ("inputs", "input_ids", "attention_mask", "max_new_tokens", "pad_token_id")
#: What the folder of a monitor, which may be anybody's, may say of ``generate``: numbers by which tokens are chosen,
#: and nothing like ``custom_generate``, which would fetch code and run it.
_PLAIN = {
    "do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "repetition_penalty", "no_repeat_ngram_size", "min_length", "min_new_tokens", "eos_token_id", "bad_words_ids",
    "suppress_tokens", "begin_suppress_tokens", "renormalize_logits", "remove_invalid_values", "use_cache",
    "num_beams", "num_return_sequences",
}  # fmt: skip
#: What ``generate`` raises of options that it does not take.
_REFUSALS = (ValueError, TypeError, AttributeError, NotImplementedError, ImportError)


def plain_options(generation: Any) -> dict[str, Any] | None:
    """Options as the folder of a monitor may hold them; None where one is of another kind.

    Example:
        >>> plain_options({"do_sample": True}), plain_options({"custom_generate": "somebody/code"})
        ({'do_sample': True}, None)
    """
    if not isinstance(generation, dict) or not generation.keys() <= _PLAIN:
        return None
    return dict(generation) if all(_is_plain(value) for value in generation.values()) else None


def require_options(lm: Any, new_tokens: int, generation: dict[str, Any]) -> None:
    """Refuse options that leave no single response of so many tokens to a prompt, whatever the model.

    Args:
        lm: the model, which may have options of its own.
        new_tokens: how many tokens a response has at most; 0 for no responses.
        generation: further options of ``generate``.

    Raises:
        ConfigError: they do.
    """
    if isinstance(new_tokens, bool) or not isinstance(new_tokens, int) or new_tokens < 0:
        raise ConfigError(f"new_tokens={new_tokens!r} must be a whole number of at least 0")
    if not new_tokens:
        if generation:
            raise ConfigError(
                f"generation={str(generation)[:60]} is of responses, and new_tokens=0 asks for none: give their "
                "length, or leave it out"
            )
        return
    if ours := [name for name in _OURS if name in generation]:
        raise ConfigError(f"generation: {ours[0]}={str(generation[ours[0]])[:40]} is set by the monitor: leave it out")
    for name in ("num_beams", "num_return_sequences"):
        if (count := _option(lm, generation, name)) != 1:
            raise ConfigError(f"generation: {name}={count!r} writes several responses at once: make it 1")


def require_answer(
    watched: WatchedModel, tokens: TokenizedPrompts, new_tokens: int, generation: dict[str, Any]
) -> None:
    """Let the model write one token after one prompt, so that what it does not take is said before all are read.

    Args:
        watched: the model.
        tokens: prompts, of which it reads the first.
        new_tokens: how many tokens a response has at most.
        generation: further options of ``generate``.

    Raises:
        ConfigError: it does not answer with these options.
    """
    ids = torch.from_numpy(tokens.ids[: tokens.starts[1]]).long()[None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with answering(watched, 0):
        try:
            own = generation.get("stopping_criteria") or []
            once = {**generation, "stopping_criteria": StoppingCriteriaList([*own, _at_once])}
            answer(watched, batch, tokens.pad_id, new_tokens, once)
        except _REFUSALS as error:
            raise ConfigError(
                f"generation={str(generation)[:80]}: the model does not answer so ({first_line(error)[:160]}): give "
                "options that its `generate` takes"
            ) from error


@contextmanager
def answering(watched: WatchedModel, seed: int) -> Iterator[None]:
    """A context in which a model may answer: what is drawn hangs on the seed alone, and all else is left as it was."""
    devices = [watched.device] if watched.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices), watched.evaluating():
        torch.manual_seed(seed)
        yield


def answer(
    watched: WatchedModel, batch: dict[str, Tensor], pad_id: int, new_tokens: int, generation: dict[str, Any]
) -> None:
    """Let a model answer a batch of prompts, and read all tokens of the responses."""
    inputs = {key: batch[key].to(watched.device) for key in ("input_ids", "attention_mask")}
    # One more, because the last token that is written is not read.
    watched.model.generate(**inputs, max_new_tokens=new_tokens + 1, pad_token_id=pad_id, **generation)


def _option(lm: Any, generation: dict[str, Any], name: str) -> Any:
    """What ``generate`` takes for an option: what it is given, or what the model has for it, or 1."""
    places = (generation.get("generation_config"), getattr(lm, "generation_config", None))
    said = (generation.get(name), *(getattr(place, name, None) for place in places))
    return next((value for value in said if value is not None), 1)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, list) and all(map(_is_plain, value)))


def _at_once(input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
    """Stop after the first token."""
    return torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
