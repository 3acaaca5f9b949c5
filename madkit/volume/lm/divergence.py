"""How far a model's next-token predictions have moved from what they were: KL(original || now)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.volume.weights.sharding import reshard

#: Where predictions are compared: after every token of a prompt; after its last one; after its last one, and as to
#: its two answers alone.
At = Literal["tokens", "last", "answers"]
#: Logits that are held in float64 at a time.
CHUNK = 1 << 23


def kl_divergence(original: Tensor, now: Tensor) -> Tensor:
    r"""KL(p || q) of rows of logits, without cancellation.

    With d = ln q - ln p it is the sum of q - p - p d, in which no term is negative: the plain sum of -p d would be a
    small difference of large terms. (The sums of p and of q are both 1.)

    Args:
        original: logits of p (n, V).
        now: logits of q (n, V).

    Returns:
        (n,) float64, in nats; NaN where logits are.

    Example:
        >>> f"{float(kl_divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1e-6]]))):.4g}"
        '1.25e-13'
    """
    p, q = (x.double().log_softmax(-1) for x in (original, now))
    mass, d = p.exp(), q - p
    # e^d - 1 - d by its series where d is small, for there the parts nearly cancel.
    small = d.square() * (0.5 + d * (1 / 6 + d * (1 / 24 + d * (1 / 120 + d / 720))))
    terms = torch.where(d.abs() < 1e-2, mass * small, q.exp() - mass - mass * d)
    # A token that p rules out adds q alone, and one that both rule out nothing; 0 times infinity would be NaN.
    terms = torch.where(mass == 0, q.exp(), terms)
    return terms.sum(-1)


class Compared(NamedTuple):
    """Where a batch's predictions are compared."""

    values: Tensor
    """What there is at those places (n, d): final hidden states, or logits."""
    final: bool
    """Whether they are logits."""
    owner: Tensor
    """The prompt of each (n,)."""
    choices: Tensor | None
    """The two answers' tokens (B, 2), if only they are compared."""


def require_at(at: str) -> None:
    """Refuse a place that is not one.

    Raises:
        ConfigError: naming those there are.
    """
    if at not in get_args(At):
        raise ConfigError(f"at={at!r}: choose from {', '.join(get_args(At))}")


def compared(lm: PreTrainedModel, batch: dict[str, Any], at: At) -> Compared:
    """Run a batch up to the final hidden states and pick those of the places of comparison.

    Args:
        lm: the model.
        batch: ``input_ids`` and ``attention_mask`` (B, T), padded on the left, and for ``answers`` also ``choices``.
        at: where predictions are compared.

    Raises:
        ConfigError: ``answers`` without choices, padding on the right, or a model in training mode.
    """
    if lm.training:
        raise ConfigError("lm is in training mode, in which dropout makes noise: call lm.eval() first")
    if at == "answers" and "choices" not in batch:
        raise ConfigError("at='answers' compares two answers, and this batch names none: give `choices` (B, 2)")
    mask = batch["attention_mask"]
    if mask.shape[1] and not bool(mask[:, -1].all()):
        raise ConfigError("attention_mask: prompts must be padded on the left, and one has no last token here")
    # A model that FSDP2 has sharded gathers its weights when it is called as a whole, and only then.
    whole = hasattr(lm, "unshard")
    if whole:
        values = lm(batch["input_ids"], mask, position_ids=forward.positions(mask), use_cache=False).logits
        reshard(lm)
    else:
        values = forward.hidden_states(lm, batch["input_ids"], mask, padded=forward.is_padded(mask))
    if at == "tokens":
        owner, position = mask.nonzero(as_tuple=True)
        return Compared(values[owner, position], whole, owner, None)
    owner = torch.arange(len(values), device=values.device)
    return Compared(values[:, -1], whole, owner, batch["choices"] if at == "answers" else None)


def spans(lm: PreTrainedModel, places: int) -> Iterator[slice]:
    """Slices of the places of comparison whose logits fit into memory together."""
    step = max(1, CHUNK // int(lm.get_output_embeddings().weight.shape[0]))
    return (slice(first, first + step) for first in range(0, places, step))


def logits_at(lm: PreTrainedModel, found: Compared, span: slice) -> Tensor:
    """Logits at some places of comparison, (n, V), or of the answers alone, (n, 2), if so asked."""
    values = found.values[span]
    single = torch.promote_types(values.dtype, torch.float32)
    logits = values.to(single) if found.final else forward.logits_of(lm, values)
    return logits if found.choices is None else forward.choice_logits(logits, found.choices[found.owner[span]])


def original_logits(lm: PreTrainedModel, batch: dict[str, Any], at: At) -> Tensor:
    """All logits of a batch (n, V or 2), kept in the number format that the model computes them in."""
    found, dtype = compared(lm, batch, at), lm.get_output_embeddings().weight.dtype
    return torch.cat([logits_at(lm, found, span).to(dtype) for span in spans(lm, len(found.owner))])


def divergences(lm: PreTrainedModel, batch: dict[str, Any], at: At, original: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over each prompt's places of the KL divergence from the original predictions.

    Args:
        lm: the model as it is now.
        batch: as for `compared`.
        at: where predictions are compared.
        original: what `original_logits` gave for this batch, on any device.

    Returns:
        Sums (B,) float64, and the number of places (B,) int64.
    """
    found = compared(lm, batch, at)
    sums = torch.zeros(len(batch["input_ids"]), dtype=torch.float64, device=found.owner.device)
    counts = torch.bincount(found.owner, minlength=len(sums))
    for span in spans(lm, len(found.owner)):
        kl = kl_divergence(original[span].to(sums.device), logits_at(lm, found, span))
        sums.index_add_(0, found.owner[span], kl)
    return sums, counts
