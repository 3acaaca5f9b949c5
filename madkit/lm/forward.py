"""Forward passes that compute logits only where they are needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from madkit.lm.hooks import hooked, layer_names


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


def hidden_states(lm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, *, padded: bool) -> Tensor:
    """The final hidden states (B, T, d), before the unembedding.

    A batch without padding goes in without a mask, because attention then takes its fast causal path.
    """
    return lm.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask if padded else None,
        position_ids=positions(attention_mask) if padded else None,
        use_cache=False,
    ).last_hidden_state


def states_at(
    lm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, tokens: Tensor, *, padded: bool
) -> Tensor:
    """The final hidden states (n, d) of a few tokens.

    An MLP mixes no tokens, so the last layer's computes these tokens only.

    Args:
        lm: any causal LM; one that recomputes activations or routes tokens to experts computes all tokens.
        input_ids: (B, T) int64.
        attention_mask: (B, T), 1 for real tokens.
        tokens: (n,) int64, which of the B * T tokens, numbered row by row.
        padded: whether the mask is needed.
    """
    last = lm.get_submodule(layer_names(lm)[-1])
    mlp = getattr(last, "mlp", None)
    handles: list[RemovableHandle] = []
    routed = any("experts" in key for key in lm.config.to_dict())
    if mlp is not None and not routed and not lm.is_gradient_checkpointing:
        handles = [
            mlp.register_forward_pre_hook(lambda _, args: (args[0].flatten(0, 1)[tokens], *args[1:])),
            mlp.register_forward_hook(
                lambda _, __, out: (
                    out.new_zeros(input_ids.numel(), out.shape[-1])
                    .index_copy(0, tokens, out)
                    .view(*input_ids.shape, -1)
                )
            ),
        ]
    with hooked(handles):
        return hidden_states(lm, input_ids, attention_mask, padded=padded).flatten(0, 1)[tokens]


def logits_of(lm: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits (n, vocabulary), in float32 or better, of the given final hidden states (n, d)."""
    logits = lm.get_output_embeddings()(hidden)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def choice_logits(logits: Tensor, choices: Tensor) -> Tensor:
    """The logits (B, 2) of the two choices (" No", " Yes") out of (B, vocabulary)."""
    return torch.gather(logits, 1, choices)
