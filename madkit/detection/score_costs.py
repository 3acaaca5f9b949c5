"""What a prompt costs under each detector, measured while the detectors run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from madkit.detection.detector import Detector
from madkit.detection.site_scores import SiteKey
from madkit.runs.cost import Cost, measured
from madkit.scores import ScoreCollection
from madkit.store.variant import Variant
from madkit.streaming.validation import row_chunks

#: Prompts that a score is timed on.
PROMPTS = 512


class ScoreCosts:
    """Seconds a prompt of each score by itself, added up over sites."""

    def __init__(self) -> None:
        self._costs: dict[tuple[Variant, str], Cost] = {}
        self._timed: set[SiteKey] = set()

    def measure(self, key: SiteKey, scores: ScoreCollection, x: Tensor) -> None:
        """Time the scores of a site, once, on a part of the first block that has rows.

        Args:
            key: the site.
            scores: fitted.
            x: rows (b, d), which the scores have seen before.
        """
        if key in self._timed or not len(x):
            return
        self._timed.add(key)
        part = x[:PROMPTS] if x.layout == torch.strided else next(row_chunks(x, dense=False))
        for name, score in scores.items():
            cost = measured(partial(score, part), len(part), x.device)
            if (key[0], name) in self._costs:
                cost["seconds_per_prompt"] += self._costs[key[0], name]["seconds_per_prompt"]
            self._costs[key[0], name] = cost

    def of(self, detectors: Iterable[Detector]) -> dict[tuple[Variant, str], Cost]:
        """What each detector costs; a background ratio, what its two scores do."""
        costs = {}
        for detector in detectors:
            if parts := [self._costs[part.key] for part in detector.parts if part.key in self._costs]:
                costs[detector.key] = Cost(
                    seconds_per_prompt=sum(cost["seconds_per_prompt"] for cost in parts),
                    prompts=parts[0]["prompts"],
                    device=parts[0]["device"],
                )
        return costs
