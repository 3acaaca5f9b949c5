"""What madkit reads from a model is what the model computes: checked on two short prompts when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from madkit.errors import ConfigError, MadkitError
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader
from madkit.lm.text_decoder import embedding_rows, layer_names

#: Lengths of the two prompts; the shorter one is also read with padding before it.
LENGTHS = (7, 4)
#: Largest relative difference of vectors that rounding explains: of the same computation, and of one that is padded.
TOLERANCES = {True: (1e-3, 1e-2), False: (5e-2, 0.25)}
#: Architectures that have been checked, and whether they can read padded batches.
_CHECKED: dict[tuple[str, ...], bool] = {}
_CACHING: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@torch.inference_mode(False)
@torch.no_grad()
def check_forward(lm: PreTrainedModel, argument: str, name: str) -> None:
    """Refuse a model from which other numbers would be read than it computes.

    Logits, and what enters each layer, are compared with those that ``lm(...)`` itself reports. A model that gives
    other numbers for a prompt with padding before it is accepted, and from then on refuses padded batches. Each
    architecture and number format is checked once a process.

    Args:
        lm: a causal LM in evaluation mode.
        argument: what the user calls the model.
        name: its name.

    Raises:
        ConfigError: the numbers are not the same.
    """
    key = type(lm).__name__, lm.config.to_json_string(), str(lm.dtype), str(lm.config._attn_implementation)
    if key not in _CHECKED:
        try:
            with on_cpu(lm):
                _CHECKED[key] = _is_right(lm)
        except MadkitError as error:
            raise ConfigError(f"{argument}={name!r}: {str(error).removeprefix('model.base: ')}") from error
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(
                f"{argument}={name!r}: {type(lm).__name__} is of a family whose forward pass madkit cannot follow "
                f"({type(error).__name__}: {reason}): choose another model"
            ) from error
    if not _CHECKED[key]:
        forward.refuse_padding(lm)


def _is_right(lm: PreTrainedModel) -> bool:
    """Whether the model can read padded batches; an error if it cannot be read at all."""
    same, padded = TOLERANCES[lm.dtype in (torch.float32, torch.float64)]
    prompts = _prompts(lm)
    reports = [_report(lm, ids) for ids in prompts]
    if not all(bool(logits.isfinite().all()) for logits, _ in reports):
        return True  # Where a number format overflows, what is read says so itself.
    logits, states = _read(lm, prompts[0], torch.ones_like(prompts[0]))
    _require(lm, "logits", logits, reports[0][0], same)
    # Some families report what leaves each layer, and not what enters the first.
    skipped = int(_difference(states[0], reports[0][1][0]) > same)
    for number, (ours, theirs) in enumerate(zip(states[skipped:], reports[0][1], strict=False)):
        _require(lm, f"what enters layer {number + skipped}", ours, theirs, same)
    gap = LENGTHS[0] - LENGTHS[1]
    mask = torch.ones_like(prompts[0]).repeat(2, 1)
    mask[1, :gap] = 0
    filled = torch.cat([prompts[0][:, :gap], prompts[1]], dim=1)
    logits, states = _read(lm, torch.cat([prompts[0], filled]), mask)
    pairs = [(logits, torch.cat([logits for logits, _ in reports]))]
    pairs += [
        (ours, torch.cat(theirs))
        for ours, *theirs in zip(states[skipped:], *(states for _, states in reports), strict=False)
    ]
    if not all(_difference(ours, theirs) <= padded for ours, theirs in pairs):
        return False
    # In half precision, what padding does may be less than what rounding does: so it is asked what it holds, too.
    filled = torch.cat([prompts[0][:, -gap:], prompts[1]], dim=1)
    again, _ = _read(lm, torch.cat([prompts[0], filled]), mask)
    return _difference(again, logits) <= same


@torch.no_grad()
def can_cache(lm: PreTrainedModel) -> bool:
    """Whether a prompt can be read in two parts, the first of them kept as keys and values; found out once."""
    if lm not in _CACHING:
        try:
            _CACHING[lm] = _caches_rightly(lm)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # a model with a state has no such cache, and says so in many ways
            _CACHING[lm] = False
    return _CACHING[lm]


def _caches_rightly(lm: PreTrainedModel) -> bool:
    same, _ = TOLERANCES[lm.dtype in (torch.float32, torch.float64)]
    ids, cache = _prompts(lm)[0], DynamicCache()
    whole = forward.decode(lm, input_ids=ids, use_cache=False)
    where = torch.arange(ids.shape[1], device=ids.device)[None]
    for part in (slice(0, -1), slice(-1, None)):
        inputs = {"input_ids": ids[:, part], "position_ids": where[:, part]}
        hidden = forward.decode(lm, **inputs, cache=cache, use_cache=True)
    right = _difference(hidden[:, -1], whole[:, -1]) <= same and cache.get_seq_length() == ids.shape[1]
    cache.crop(-1)
    return right and cache.get_seq_length() == ids.shape[1] - 1


def _prompts(lm: PreTrainedModel) -> list[Tensor]:
    """Token ids (1, T) of different tokens that no configuration calls special."""
    configs = [lm.config, forward.text_config(lm)]
    special = {v for c in configs for k, v in vars(c).items() if k.endswith(("_token_id", "_token_index", "_id"))
               if isinstance(v, int)}  # fmt: skip
    usual = [token for token in range(min(embedding_rows(lm) or 64, 64)) if token not in special]
    tokens = torch.tensor([usual[i % len(usual)] for i in range(sum(LENGTHS))], device=_device(lm))
    return [part[None] for part in tokens.flip(0).split(list(LENGTHS))]


def _device(lm: PreTrainedModel) -> Any:
    return next(lm.get_input_embeddings().parameters()).device


def _report(lm: PreTrainedModel, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits (1, V) at the last token, and what enters each layer there (1, d), as the model reports them."""
    output: Any = lm(input_ids=ids, output_hidden_states=True, use_cache=False)
    return output.logits[:, -1], [x[:, -1] for x in output.hidden_states]


def _read(lm: PreTrainedModel, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What is read of a batch: logits (B, V), and what enters each layer (B, d), at the last token."""
    points = [Hookpoint(layer, "input") for layer in layer_names(lm)]
    rows, width = ids.shape
    last = torch.arange(1, rows + 1, device=ids.device) * width - 1
    with Reader(lm, points, stop=False) as reader:
        hidden = forward.states_at(lm, ids, mask, last, padded=forward.is_padded(mask))
    return forward.logits_of(lm, hidden), [reader.values[point] for point in points]


def _require(lm: PreTrainedModel, what: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    difference = _difference(ours, theirs)
    if not difference <= tolerance:
        raise ConfigError(
            f"{type(lm).__name__} is of a family whose forward pass madkit cannot follow ({what} is not what the model "
            f"itself reports: {difference:.1%} apart on a probe prompt): choose another model"
        )


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest relative distance of vectors (B, d)."""
    ours, theirs = ours.float().cpu(), theirs.float().cpu()
    return float(((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1).clamp(min=1e-12)).max())


@contextmanager
def on_cpu(lm: Any) -> Iterator[None]:
    """A context in which a model that waits on the CPU for its GPU does without an attention that needs one."""
    name = str(getattr(lm.config, "_attn_implementation", None))
    if "flash" not in name or lm.device.type != "cpu":
        yield
        return
    lm.set_attn_implementation("eager")
    try:
        yield
    finally:
        lm.set_attn_implementation(name)
