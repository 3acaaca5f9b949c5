"""One pass of a batch through a model, for all features that read the same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from madkit.features.feature import Feature, Reading
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader

Points = Mapping[str, Sequence[Hookpoint]]


def switched(model: Any, adapter: bool) -> AbstractContextManager[Any]:
    """A context in which the adapter of a model acts, or not."""
    return nullcontext() if adapter else model.disable_adapter()


@torch.inference_mode(False)
def read(
    model: Any, features: Sequence[Feature], points: Points, batch: dict[str, Any], *, learning: bool = False
) -> dict[str, Reading]:
    """Run one forward pass, and a backward pass if a feature needs gradients, and give each feature its reading.

    Outside inference mode, in which Lightning predicts but autograd cannot record. The graph lives as long as a
    reading with a ``pullback`` does.

    Args:
        model: the LM, with or without a PEFT adapter.
        features: features with the same ``adapter``.
        points: the hookpoints of each feature, by its name.
        batch: token ids, mask and choices of B prompts.
        learning: read what features learn from, which takes neither logits nor gradients.
    """
    lm = forward.unwrapped(model)
    traced = [p for f in features if f.needs_gradients and not learning for p in points[f.name]]
    logits = None
    needs_logits = bool(traced) or any(f.needs_logits for f in features if not learning)
    # Tensors that were made in inference mode cannot be saved for a backward pass, copies of them can.
    ids, mask = batch["input_ids"].clone(), batch["attention_mask"].clone()
    everything = [p for f in features for p in points[f.name]]
    reader = Reader(lm, everything, stop=not needs_logits, traced=traced)
    with torch.set_grad_enabled(bool(traced)), switched(model, features[0].adapter):
        if traced:  # PEFT marks the adapter as trainable whenever it is switched on again
            model.requires_grad_(False)
        with reader:
            hidden = forward.hidden_states(lm, ids, mask, padded=forward.is_padded(mask))
            if needs_logits:
                logits = forward.logits_of(lm, hidden[:, -1])
    whole = Reading(lm, reader.values, batch, None if logits is None else logits.detach())
    if traced and logits is not None:
        no, yes = forward.choice_logits(logits, batch["choices"].clone()).unbind(1)
        whole.gradients = reader.gradients(yes - no, list(dict.fromkeys(traced)))
        whole.pullback = _pullback(reader)
    return {f.name: _own(whole, f, points[f.name]) for f in features}


def _own(whole: Reading, feature: Feature, points: Sequence[Hookpoint]) -> Reading:
    """The part of a reading that a feature asked for."""
    values = {p: whole.values[p] for p in points}
    if not feature.needs_gradients or not whole.gradients:
        return replace(whole, values=values, gradients={}, pullback=None)
    return replace(whole, values=values, gradients={p: whole.gradients[p] for p in points})


def _pullback(reader: Reader) -> Any:
    def pullback(point: Hookpoint, direction: Tensor, earlier: Sequence[Hookpoint]) -> dict[Hookpoint, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            value = reader.traced(point)
            return reader.gradients(value @ direction.to(value), earlier)

    return pullback
