"""RepeatedBatch: what a model answers to the prompts of a batch, unchanged and with vectors added to its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from madkit.lm import forward
from madkit.lm.probe import can_cache
from madkit.poser.measure.output_shift import shifted_outputs
from madkit.poser.measure.scenario_batches import Batch
from madkit.volume import kl_divergence


class Behaviour(NamedTuple):
    """The distribution over the token after each of B prompts."""

    kl: Tensor
    """KL(baseline || this), in nats (B,) float64."""
    p_benign: Tensor
    """Probability of the benign answer among all tokens (B,) float64."""
    p_misaligned: Tensor
    """Probability of the misaligned answer (B,) float64."""


class RepeatedBatch:
    """A batch of prompts that is run again and again under perturbations.

    A perturbation of the last token changes nothing before it. So all tokens but the last are run once and kept as
    keys and values; each perturbation then costs one token. The baseline is computed in the same way, so that without
    a perturbation the divergence is exactly 0.

    Args:
        lm: the plain transformers model.
        batch: ``input_ids`` and ``attention_mask`` (B, T), padded on the left; ``choices`` (B, 2), the tokens of the
            benign and the misaligned answer.
        cached: keep keys and values, where the model has them; otherwise every run goes through the complete prompts,
            as perturbations of all tokens need.
    """

    def __init__(self, lm: PreTrainedModel, batch: Batch, *, cached: bool) -> None:
        self.lm, self.batch = lm, batch
        self.mask: Tensor = batch["attention_mask"]
        self.padded = forward.checked_padding(lm, batch)
        self.cache: Any = None
        if cached and self.mask.shape[1] > 1 and can_cache(lm):
            self.cache = DynamicCache()
            with torch.no_grad():
                self._run(slice(0, -1), self.mask[:, :-1])
        self.baseline = self.logits({})

    @torch.no_grad()
    def logits(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, V) of the next token, in float32 or better; vectors as for `shifted_outputs`."""
        with shifted_outputs(self.lm, vectors):
            if self.cache is None:
                hidden = forward.hidden_states(self.lm, self.batch["input_ids"], self.mask, padded=self.padded)
            else:
                hidden = self._run(slice(-1, None), self.mask)
                self.cache.crop(-1)
        return forward.logits_of(self.lm, hidden[:, -1])

    def behaviour(self, vectors: Mapping[str, Tensor]) -> Behaviour:
        """The answers with vectors added, and how far they are from those without."""
        return self._answers(self.logits(vectors))

    @property
    def at_first(self) -> Behaviour:
        """The answers without vectors, as they were when this was made."""
        return self._answers(self.baseline)

    def _answers(self, logits: Tensor) -> Behaviour:
        chosen = logits.double().softmax(-1).gather(1, self.batch["choices"])
        return Behaviour(kl_divergence(self.baseline, logits), chosen[:, 0], chosen[:, 1])

    def _run(self, columns: slice, mask: Tensor) -> Tensor:
        return forward.decode(
            self.lm,
            input_ids=self.batch["input_ids"][:, columns],
            attention_mask=mask if self.padded else None,
            position_ids=forward.positions(self.mask)[:, columns],
            cache=self.cache,
            use_cache=True,
        )
