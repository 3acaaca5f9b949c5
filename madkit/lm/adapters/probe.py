"""A probe prompt, with which two ways through one model are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from madkit.lm import forward
from madkit.lm.hooks import hooked
from madkit.lm.probe import on_cpu

#: How far two passes of one model may lie apart, as a share of the largest logit: rounding, and no more.
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
_HALF = 5e-2


@torch.inference_mode(False)
@torch.no_grad()
def own_logits(lm: Any) -> Tensor:
    """Logits (vocabulary,) after a few tokens, on the way that features and training take."""
    ids = _ids(lm)
    with on_cpu(lm):
        hidden = forward.hidden_states(lm, ids, torch.ones_like(ids), padded=False)
        return forward.logits_of(lm, hidden[:, -1])[0].float()


@torch.inference_mode(False)
@torch.no_grad()
def wrapped_logits(model: Any) -> Tensor:
    """Logits (vocabulary,) after the same tokens, by the forward pass of a PEFT model."""
    lm = forward.unwrapped(model)
    ids = _ids(lm)
    with on_cpu(lm):
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1].float()


def uncalled(lm: Any, names: Iterable[str]) -> list[str]:
    """Which of a model's modules are not called when it reads a few tokens.

    Args:
        lm: any causal LM.
        names: as in ``named_modules()``.
    """
    modules = {name: lm.get_submodule(name) for name in names}
    called: set[nn.Module] = set()
    with hooked(m.register_forward_pre_hook(lambda module, _: called.add(module)) for m in modules.values()):
        own_logits(lm)
    return [name for name, module in modules.items() if module not in called]


def agree(x: Tensor, y: Tensor, dtype: torch.dtype) -> bool:
    """Whether two passes gave the same logits, for as many tokens as both have, but for rounding."""
    n = min(len(x), len(y))
    scale = float(y[:n].abs().max())
    return float((x[:n] - y[:n].to(x.device)).abs().max()) <= _TOLERANCE.get(dtype, _HALF) * max(scale, 1e-6)


def _ids(lm: Any) -> Tensor:
    """Five tokens (1, 5) from all over the vocabulary."""
    embedding = lm.get_input_embeddings()
    n = min(embedding.weight.shape[0], int(getattr(lm.config, "vocab_size", embedding.weight.shape[0])))
    return torch.tensor([[n // 2, n // 3, n // 5, n // 7, n // 11]], device=embedding.weight.device)
