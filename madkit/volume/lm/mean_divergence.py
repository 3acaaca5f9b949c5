"""MeanDivergence: how far a model's predictions on some prompts have moved, as one number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.runs.fingerprints import digest
from madkit.volume.lm.divergence import At, divergences, original_logits, require_at

Batch = dict[str, Any]


class MeanDivergence:
    """The mean KL divergence of a model's predictions from what they are now, over all positions of some prompts.

    The original logits are computed once, here, and kept: (positions, vocabulary) in the model's number format.

    Args:
        lm: the model, as it is at the centre.
        batches: the prompts.
        at: ``tokens`` (mean over all tokens of all prompts), ``last`` or ``answers`` (mean over prompts).
        cache: where the original logits are kept; None for where the model is.

    Raises:
        ConfigError: there are no prompts, or ``at`` is unknown.
    """

    def __init__(self, lm: Any, batches: Iterable[Batch], at: At = "tokens", cache: str | None = None) -> None:
        require_at(at)
        self.lm, self.at = forward.unwrapped(lm), at
        device = next(self.lm.parameters()).device
        keys = ("input_ids", "attention_mask", "choices")
        self.batches = [{k: batch[k].to(device) for k in keys if k in batch} for batch in batches]
        if not self.batches:
            raise ConfigError("batches=[] is empty: give at least one batch of prompts")
        with torch.no_grad():
            self.originals = [original_logits(self.lm, b, at).to(cache or device) for b in self.batches]

    @property
    def size(self) -> float:
        """The sum of the original logits' magnitudes, which tells one model from another."""
        return sum(float(x.double().abs().sum()) for x in self.originals)

    @property
    def prompts(self) -> str:
        """A digest of the prompts without their padding, sorted: a mean knows no batches and no order."""
        rows = (row for b in self.batches for row in zip(b["input_ids"], b["attention_mask"].bool(), strict=True))
        return digest(sorted(ids[used].tolist() for ids, used in rows))

    @torch.no_grad()
    def __call__(self) -> float:
        """The mean for the model as it is."""
        total, count = 0.0, 0
        for batch, original in zip(self.batches, self.originals, strict=True):
            sums, counts = divergences(self.lm, batch, self.at, original)
            total, count = total + float(sums.sum()), count + int(counts.sum())
        return total / count
