"""One pass of a batch through a model, for all features that read the same model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from madkit.features.feature import Feature
from madkit.features.trace import Trace
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader
from madkit.store.variant import Variant

Hookpoints = Mapping[str, Sequence[Hookpoint]]


def switched(model: Any, adapter: bool) -> AbstractContextManager[Any]:
    """A context in which the adapter of a model acts, or not."""
    return nullcontext() if adapter else model.disable_adapter()


def reading(model: Any, control: Any, adapter: bool) -> tuple[Any, bool]:
    """Which model is read, and with its adapter on or off.

    Args:
        model: the quirky LM.
        control: the base, where switching off the quirky LM's adapter does not give it; None where it does.
        adapter: whether the quirky LM is meant, or what it was before.
    """
    return (model, adapter) if adapter or control is None else (control, True)


@torch.inference_mode(False)
def trace(
    model: Any,
    features: Sequence[Feature],
    hookpoints: Hookpoints,
    batch: dict[str, Any],
    *,
    adapter: bool = True,
    learning: bool = False,
) -> dict[str, Trace]:
    """Run one forward pass, and a backward pass if a feature needs gradients, and give each feature its trace.

    Outside inference mode, in which Lightning predicts but autograd cannot record. The graph lives as long as a
    trace with a ``pullback`` does.

    Args:
        model: the LM, with or without a PEFT adapter.
        features: what reads this pass.
        hookpoints: those of each feature, by its name.
        batch: token ids, mask and choices of B prompts.
        adapter: whether the adapter is on.
        learning: read what features learn from, which takes neither logits nor gradients.
    """
    lm = forward.unwrapped(model)
    # Where gradients are taken.
    sources = [h for f in features if f.needs_gradients and not learning for h in hookpoints[f.name]]
    logits = None
    needs_logits = bool(sources) or any(f.needs_logits for f in features if not learning)
    # Tensors that were made in inference mode cannot be saved for a backward pass, copies of them can.
    ids, mask = batch["input_ids"].clone(), batch["attention_mask"].clone()
    everything = [h for f in features for h in hookpoints[f.name]]
    reader = Reader(lm, everything, stop=not needs_logits, traced=sources)
    with torch.set_grad_enabled(bool(sources)), switched(model, adapter):
        if sources:  # PEFT marks the adapter as trainable whenever it is switched on again
            model.requires_grad_(False)
        with reader:
            hidden = forward.hidden_states(lm, ids, mask, padded=forward.checked_padding(lm, batch))
            if needs_logits:
                logits = forward.logits_of(lm, hidden[:, -1])
    total = Trace(lm, reader.values, batch, None if logits is None else logits.detach())
    if sources and logits is not None:
        no, yes = forward.choice_logits(logits, batch["choices"].clone()).unbind(1)
        total.gradients = reader.gradients(yes - no, list(dict.fromkeys(sources)))
        total.pullback = _pullback(reader)
    return {f.name: _part(total, f, hookpoints[f.name]) for f in features}


def read_features(
    model: Any,
    control: Any,
    features: Mapping[Variant, Feature],
    hookpoints: Hookpoints,
    learned: Mapping[Variant, Mapping[str, Tensor]],
    batch: dict[str, Any],
) -> Iterator[tuple[Variant, dict[str, Tensor]]]:
    """Compute features of a batch from one pass, one after another, so that no more than one is in memory.

    Args:
        model: the LM, with or without a PEFT adapter.
        control: what is read for features with the adapter off; None for the LM with its adapter switched off.
        features: with the adapter on for all, or off for all.
        hookpoints: those of each feature, by its name.
        learned: what each feature has learned.
        batch: token ids and mask of B prompts, and what the features need besides.

    Yields:
        Each feature and its vectors by site.
    """
    lm, switch = reading(model, control, next(iter(features)).adapter)
    traces = trace(lm, list(features.values()), hookpoints, batch, adapter=switch)
    for variant, feature in features.items():
        part = traces.pop(variant.feature)
        part.learned = learned[variant]
        # A feature may run the model again, and then meets it as it was read.
        with switched(lm, switch):
            vectors = feature(part)
        yield variant, vectors


def _part(total: Trace, feature: Feature, hookpoints: Sequence[Hookpoint]) -> Trace:
    """The part of a pass' trace that a feature needs."""
    activations = {h: total.activations[h] for h in hookpoints}
    if not feature.needs_gradients or not total.gradients:
        return replace(total, activations=activations, gradients={}, pullback=None)
    return replace(total, activations=activations, gradients={h: total.gradients[h] for h in hookpoints})


def _pullback(reader: Reader) -> Any:
    def pullback(hookpoint: Hookpoint, direction: Tensor, earlier: Sequence[Hookpoint]) -> dict[Hookpoint, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            x = reader.traced(hookpoint)
            return reader.gradients(x @ direction.to(x), earlier)

    return pullback
