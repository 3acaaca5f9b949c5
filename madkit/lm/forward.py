"""Forward passes that compute logits only where they are needed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm.cudnn_attention import cudnn_attention
from madkit.lm.given_states import given_states
from madkit.lm.hooks import hooked
from madkit.lm.text_decoder import embedding_rows, layer_names, position_limit, text_config

#: What transformers calls the cache of keys and values: from 5.24 on the first, and earlier the second.
_CACHES = ("cache", "past_key_values")

_READING_PADDING: WeakSet[PreTrainedModel] = WeakSet()
_ROUTING: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def positions(attention_mask: Tensor) -> Tensor:
    """Position ids (B, T) that count real tokens only, so left padding does not move a prompt.

    Example:
        >>> positions(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])).tolist()
        [[0, 0, 0, 1], [0, 1, 2, 3]]
    """
    return (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def unwrapped(model: Any) -> PreTrainedModel:
    """The transformers model itself, whether or not PEFT wraps it; adapters it carries stay active."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_padded(attention_mask: Tensor) -> bool:
    """Whether any prompt of the batch is padded; on a GPU the answer has to wait for all work."""
    return not bool(attention_mask.all())


def cache_in(inputs: Mapping[str, Any]) -> Any:
    """The cache of keys and values among what a model is called with, by either of its names; None without one."""
    return next((inputs[name] for name in _CACHES if inputs.get(name) is not None), None)


def checked_padding(lm: PreTrainedModel, batch: Mapping[str, Any], *, left: bool = True) -> bool:
    """Whether any prompt of a batch is padded, of a batch that the model can read.

    On a GPU the answer has to wait for all work.

    Args:
        lm: any causal LM.
        batch: ``input_ids`` and ``attention_mask`` (B, T); what it has of ``choices``, ``answer`` and ``token`` are
            tokens, too.
        left: whether prompts must end in the last column.

    Raises:
        ConfigError: a prompt is padded on the right, or a token has no embedding.
    """
    ids, used = batch["input_ids"], batch["attention_mask"].bool()
    rows = embedding_rows(lm) or torch.iinfo(ids.dtype).max
    tokens = [ids.where(used, 0), *(batch[key] for key in ("choices", "answer", "token") if key in batch)]
    outside = [((x < 0) | (x >= rows)).any() for x in tokens]
    ends = (used[:, 1:] >= used[:, :-1]).all() & used[:, -1:].all()
    complete, on_the_left, *wrong = torch.stack([used.all(), ends, *outside]).tolist()
    if left and not on_the_left:
        raise ConfigError(
            "attention_mask: prompts must be padded on the left, and one has no last token here or a gap; "
            "set the tokenizer's padding_side to left"
        )
    for x, bad in zip(tokens, wrong, strict=True):
        if bad:
            token = int(x[(x < 0) | (x >= rows)][0])
            raise ConfigError(
                f"the tokenizer gives token {token}, and the embedding of {type(lm).__name__} {lm.name_or_path!r} has "
                f"{rows} rows: tokens were added to the tokenizer without resizing the embedding; use the tokenizer "
                "that the model was trained with"
            )
    return not complete


def decode(lm: PreTrainedModel, **inputs: Any) -> Tensor:
    """The final hidden states (B, T, d), before the unembedding.

    Args:
        lm: any causal LM.
        inputs: what its decoder is called with, and ``cache``, under the name that it has there; a family that knows
            no position ids, masks or caches does without. With an ``attention_mask``, attention is not cuDNN's.
    """
    # What holds the layers, should the family not name its decoder as transformers does.
    decoder = lm.base_model if lm.base_model is not lm else lm.get_submodule(layer_names(lm)[0].split(".")[0])
    kind: type = type(decoder)
    if "cache" in inputs and "cache" not in _parameters(kind):
        inputs["past_key_values"] = inputs.pop("cache")
    with masked_attention(inputs.get("attention_mask") is not None):
        return decoder(**_accepted(kind, inputs))[0]


def masked_attention(masked: bool) -> AbstractContextManager[None]:
    """A context for a forward pass, in which attention to a mask is not cuDNN's: see `cudnn_attention`."""
    return cudnn_attention(False) if masked else nullcontext()


def hidden_states(lm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, *, padded: bool) -> Tensor:
    """The final hidden states (B, T, d), before the unembedding.

    A batch without padding goes in without a mask, because attention then takes its fast causal path. What padded
    places hold plays no part, and need not be a token of the model.

    Args:
        lm: any causal LM.
        input_ids: (B, T) int64.
        attention_mask: (B, T), 1 for real tokens.
        padded: whether the mask is needed; see `checked_padding`.

    Raises:
        ConfigError: prompts are longer than the model's table of positions, or the model reads padding as text.
    """
    width, limit, rows = input_ids.shape[1], position_limit(lm), embedding_rows(lm)
    if limit is not None and width > limit:
        raise ConfigError(
            f"a prompt of {width} tokens is longer than the {limit} positions that {type(lm).__name__} has: lower "
            "max_length (`--data.max_length`)"
        )
    if padded and lm in _READING_PADDING:
        raise ConfigError(
            f"{type(lm).__name__} gives other numbers for a prompt that is padded, and this batch has prompts of "
            "unequal length: read one prompt at a time (`--data.predict_batch_size 1`, and `--data.device_batch_size "
            "1` in training)"
        )
    if padded and rows is not None:
        input_ids = input_ids.where((attention_mask != 0) | ((input_ids >= 0) & (input_ids < rows)), 0)
    return decode(
        lm,
        input_ids=input_ids,
        attention_mask=attention_mask if padded else None,
        position_ids=positions(attention_mask) if padded else None,
        use_cache=False,
    )


def refuse_padding(lm: PreTrainedModel) -> None:
    """Let `hidden_states` refuse padded batches of this model from now on."""
    _READING_PADDING.add(lm)


def states_at(
    lm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, tokens: Tensor, *, padded: bool
) -> Tensor:
    """The final hidden states (n, d) of a few tokens.

    An MLP mixes no tokens, so the last layer's computes these tokens only.

    Args:
        lm: any causal LM; one that recomputes activations or routes tokens to experts, and one whose MLP is handed
            more than one tensor, computes all tokens.
        input_ids: (B, T) int64.
        attention_mask: (B, T), 1 for real tokens.
        tokens: (n,) int64, which of the B * T tokens, numbered row by row.
        padded: whether the mask is needed.
    """
    last = layer_names(lm)[-1]
    mlp = getattr(lm.get_submodule(last), "mlp", None)
    handles: list[RemovableHandle] = []
    if mlp is not None and not _routes(lm) and not _recomputes(lm, last):
        narrowed = []

        def narrow(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if len(args) != 1 or kwargs or args[0].shape[:-1] != input_ids.shape:
                return None
            narrowed.append(True)
            return (args[0].flatten(0, 1)[tokens][None],), kwargs

        def widen(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            if not narrowed:
                return out
            whole = out.new_zeros(input_ids.numel(), out.shape[-1])
            return whole.index_copy(0, tokens, out[0]).view(*input_ids.shape, -1)

        handles = [mlp.register_forward_pre_hook(narrow, with_kwargs=True), mlp.register_forward_hook(widen)]
    with hooked(handles):
        return hidden_states(lm, input_ids, attention_mask, padded=padded).flatten(0, 1)[tokens]


def _routes(lm: PreTrainedModel) -> bool:
    """Whether tokens are routed to experts, as its configuration says; found out once."""
    if lm not in _ROUTING:
        _ROUTING[lm] = any("experts" in key for key in text_config(lm).to_dict())
    return _ROUTING[lm]


def _recomputes(lm: PreTrainedModel, layer: str) -> bool:
    """Whether a layer's activations are recomputed, which is marked at the layer or at what holds it."""
    # transformers asks every module of the model, which takes a small one a thirtieth of a step.
    parts = layer.split(".")
    holders = (lm.get_submodule(".".join(parts[:depth])) for depth in range(len(parts) + 1))
    return any(getattr(holder, "gradient_checkpointing", False) for holder in holders)


def model_logits(lm: PreTrainedModel, hidden: Tensor, head: nn.Module | None = None) -> Tensor:
    """Logits (n, vocabulary) of the given final hidden states (n, d), in the number format of the model.

    They are what the model's own forward pass makes of these states.

    Args:
        lm: any causal LM.
        hidden: final hidden states, as `hidden_states` returns them.
        head: computes in place of the model's unembedding; see `given_states`.
    """
    # No one looks at these tokens.
    inputs = {"input_ids": torch.zeros(len(hidden), 1, dtype=torch.int64, device=hidden.device), "use_cache": False}
    # Of a contiguous tensor, torch makes one matrix product, with or without gradients.
    with given_states(lm, hidden.contiguous()[:, None], head):
        return lm(**_accepted(type(lm), inputs)).logits[:, 0]


def logits_of(lm: PreTrainedModel, hidden: Tensor, head: nn.Module | None = None) -> Tensor:
    """Logits (n, vocabulary), in float32 or better, of the given final hidden states (n, d); see `model_logits`."""
    logits = model_logits(lm, hidden, head)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def choice_logits(logits: Tensor, choices: Tensor) -> Tensor:
    """The logits (B, 2) of the two choices (" No", " Yes") out of (B, vocabulary)."""
    return torch.gather(logits, 1, choices)


def _accepted(kind: type, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those inputs that the forward pass of a class of models has a name for."""
    return {key: value for key, value in inputs.items() if key in _parameters(kind)}


@cache
def _parameters(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)  # type: ignore[attr-defined]
