"""ReferenceReader: what a model in training holds of the prompts that detectors are fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader
from madkit.lm.language_model import Batch
from madkit.lm.quirky_lm import QuirkyLM
from madkit.obfuscation.reference_prompts import ReferencePrompts
from madkit.obfuscation.site_vectors import SiteVectors
from madkit.streaming import Moments, merge_processes


class ReadPrompts(NamedTuple):
    """What one process has read of its share of some prompts."""

    sites: list[SiteVectors]
    """The vectors at each site."""
    towards: Tensor
    """(n, 1) float64, the log odds of the own label, of those prompts on which the characters disagree."""


class ReferenceReader:
    """Reads the prompts that detectors are fitted on, each process its share.

    Args:
        module: the model in training.
        data: whose training prompts they are.
        reference: which of them.
        points: the sites.
        needs_base: whether vectors with the adapter off are needed.
    """

    def __init__(
        self,
        module: QuirkyLM,
        data: QuirkyData,
        reference: ReferencePrompts,
        points: Sequence[Hookpoint],
        needs_base: bool,
    ) -> None:
        self._module, self._data, self._reference = module, data, reference
        self._points, self._needs_base = points, needs_base
        self._base: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def read(self, name: str) -> ReadPrompts:
        """Read the prompts of one field of `ReferencePrompts`."""
        tuned, base, towards = [], [], []
        for batch in self._batches(name):
            with Reader(self._module.lm, self._points, stop=False) as reader:
                choices = forward.choice_logits(self._module.answer_logits(batch), batch["choices"]).double()
            tuned.append([reader.values[point].double() for point in self._points])
            odds = choices[:, 1] - choices[:, 0]
            own = torch.where(batch["label"].bool(), odds, -odds)
            towards.append(own[batch["alice_label"] != batch["bob_label"]])
            if name not in self._base:
                base.append(self.without_adapter(batch))
        # The base model stays as it is: its vectors are read once.
        before, after = self._base.setdefault(name, self._joined(base)), self._joined(tuned)
        sites = [SiteVectors(*pair) for pair in zip(before, after, strict=True)]
        return ReadPrompts(sites, torch.cat([self._nothing[:, 0], *towards])[:, None])

    @torch.no_grad()
    def without_adapter(self, batch: Batch) -> list[Tensor]:
        """Vectors (b, d) float64 at each site with the adapter off; (b, 0) where no detector looks at them."""
        if not self._needs_base:
            return [self._nothing.new_zeros(len(batch["label"]), 0)] * len(self._points)
        lm = self._module.lm
        with self._module.model.disable_adapter(), Reader(lm, self._points, stop=True) as reader:
            forward.hidden_states(lm, batch["input_ids"], batch["attention_mask"], padded=batch["padded"])
        return [reader.values[point].double() for point in self._points]

    def _batches(self, name: str) -> Iterator[Batch]:
        """The batches of this process' share of the prompts of one kind."""
        prompts, trainer = self._data.train_prompts, self._module.trainer
        rows = prompts.tokens.by_length(getattr(self._reference, name))[trainer.global_rank :: trainer.world_size]
        for start in range(0, len(rows), self._data.predict_batch_size):
            batch: Any = prompts.batch(np.asarray(rows[start : start + self._data.predict_batch_size]))
            padded = forward.checked_padding(self._module.lm, batch)
            yield {**{key: value.to(self._module.device) for key, value in batch.items()}, "padded": padded}

    def _joined(self, batches: list[list[Tensor]]) -> list[Tensor]:
        """The rows of all batches at each site; none where a process has no batch."""
        if not batches:
            return [self._nothing[:, :0]] * len(self._points)
        return [torch.cat(rows) for rows in zip(*batches, strict=True)]

    @property
    def _nothing(self) -> Tensor:
        return torch.zeros(0, 1, dtype=torch.float64, device=self._module.device)


def mean_log_odds(towards: Tensor) -> float:
    """The mean of a column (n, 1) over all processes; minus infinity where none of them has any."""
    moments = Moments().to(towards.device)
    moments.update(towards)
    total = merge_processes(moments)
    return float(total.result().mean) if total.n else -torch.inf
