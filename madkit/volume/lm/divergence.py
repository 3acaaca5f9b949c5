"""How far a model's next-token predictions have diverged from the original ones: KL(original || now)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.lm.text_decoder import text_config
from madkit.volume.weight_space.parameter_shard import reshard

#: Where predictions are compared: after every token of a prompt; after its last one; after its last one, between its
#: two answers alone.
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


class ComparedStates(NamedTuple):
    """The n token positions of a batch at which predictions are compared."""

    values: Tensor
    """Final hidden states (n, d), or logits (n, V)."""
    are_logits: bool
    """Whether the values are logits."""
    prompt: Tensor
    """The row of each position's prompt in the batch (n,)."""
    choices: Tensor | None
    """The two answers' tokens (B, 2), if only they are compared."""


def require_at(at: str) -> None:
    """Refuse an unknown value of ``at``.

    Raises:
        ConfigError: it is unknown.
    """
    if at not in get_args(At):
        raise ConfigError(f"at={at!r}: choose from {', '.join(get_args(At))}")


def compared_states(lm: PreTrainedModel, batch: dict[str, Any], at: At) -> ComparedStates:
    """Run a batch up to the final hidden states and select the positions of comparison.

    Args:
        lm: the model.
        batch: ``input_ids`` and ``attention_mask`` (B, T), padded on the left, and for ``answers`` also ``choices``.
        at: where predictions are compared.

    Raises:
        ConfigError: ``answers`` without choices, padding on the right, or a model in training mode.
    """
    if lm.training:
        raise ConfigError("lm is in training mode, in which dropout adds noise: call lm.eval() first")
    if at == "answers" and "choices" not in batch:
        raise ConfigError("at='answers' compares two answers, and this batch names none: give `choices` (B, 2)")
    mask = batch["attention_mask"]
    padded = forward.checked_padding(lm, batch)
    # A model that FSDP2 has sharded gathers its weights only when the complete model is called.
    sharded = hasattr(lm, "unshard")
    if sharded:
        with forward.masked_attention(padded):
            values = lm(batch["input_ids"], mask, position_ids=forward.positions(mask), use_cache=False).logits
        reshard(lm)
    else:
        values = forward.hidden_states(lm, batch["input_ids"], mask, padded=padded)
    if at == "tokens":
        prompt, position = mask.nonzero(as_tuple=True)
        return ComparedStates(values[prompt, position], sharded, prompt, None)
    prompt = torch.arange(len(values), device=values.device)
    return ComparedStates(values[:, -1], sharded, prompt, batch["choices"] if at == "answers" else None)


def logit_chunks(lm: PreTrainedModel, n: int) -> Iterator[slice]:
    """Slices of n positions whose logits fit into memory together."""
    step = max(1, CHUNK // int(text_config(lm).vocab_size))
    return (slice(first, first + step) for first in range(0, n, step))


def logits_of_chunk(lm: PreTrainedModel, states: ComparedStates, chunk: slice) -> Tensor:
    """Logits at some positions of comparison, (n, V), or of the answers alone, (n, 2), if only they are compared.

    They are in the number format that the model computes them in.
    """
    values = states.values[chunk]
    logits = values if states.are_logits else forward.model_logits(lm, values)
    return logits if states.choices is None else forward.choice_logits(logits, states.choices[states.prompt[chunk]])


def original_logits(lm: PreTrainedModel, batch: dict[str, Any], at: At) -> Tensor:
    """All logits of a batch (n, V or 2), kept in the number format that the model computes them in."""
    states = compared_states(lm, batch, at)
    return torch.cat([logits_of_chunk(lm, states, chunk) for chunk in logit_chunks(lm, len(states.prompt))])


def divergences(lm: PreTrainedModel, batch: dict[str, Any], at: At, original: Tensor) -> tuple[Tensor, Tensor]:
    """The KL divergence from the original predictions, summed over each prompt's positions.

    Args:
        lm: the model as it is now.
        batch: as for `compared_states`.
        at: where predictions are compared.
        original: what `original_logits` returned for this batch, on any device.

    Returns:
        Sums (B,) float64, and the number of positions (B,) int64.
    """
    states = compared_states(lm, batch, at)
    sums = torch.zeros(len(batch["input_ids"]), dtype=torch.float64, device=states.prompt.device)
    counts = torch.bincount(states.prompt, minlength=len(sums))
    for chunk in logit_chunks(lm, len(states.prompt)):
        kl = kl_divergence(original[chunk].to(sums.device), logits_of_chunk(lm, states, chunk))
        sums.index_add_(0, states.prompt[chunk], kl)
    return sums, counts
