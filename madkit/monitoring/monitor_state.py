"""MonitorState: all that a monitor has learned, and which model it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from madkit.extraction.forward_pass import read_features
from madkit.extraction.trusted_statistics import require_finite
from madkit.features import Feature, Trace
from madkit.lm.hooks import Hookpoint
from madkit.monitoring.model_source import ModelSource
from madkit.monitoring.site_detectors import COLUMNS, SiteDetectors
from madkit.monitoring.watched_model import WatchedModel
from madkit.statistics import (
    benjamini_hochberg,
    conformal_p_values,
    realised_rate,
    recalibrated_p_values,
    smallest_rate,
)
from madkit.store.variant import Variant


@dataclass
class MonitorState:
    """What was fitted, and which model it is for."""

    detectors: SiteDetectors
    """The fitted scores."""
    features: dict[Variant, Feature]
    """What they read."""
    learned: dict[Variant, dict[str, Tensor]]
    """What the features have learned of trusted prompts."""
    calibration: NDArray[np.float64]
    """Scores (m, sites) of the held-out prompts that p-values are taken among."""
    lengths: NDArray[np.int64]
    """Their numbers of tokens (m,)."""
    n_fit: int
    """How many prompts the scores were fitted on."""
    why: str
    """Why this detector, in words."""
    base: str
    """The fingerprint of the base's files, where a feature has to know."""
    max_length: int
    """Longer prompts lose tokens on the left."""
    batch_size: int
    """Prompts in one forward pass."""
    source: ModelSource | None
    """The model by its name; None where it was in memory."""
    model: str
    """The fingerprint of its weights."""
    tokenizer: str
    """The fingerprint of its tokenizer."""
    control: str | None = None
    """The fingerprint of the weights of the base that it is compared with; None where there is none, or where that is
    the model with its adapter switched off."""
    new_tokens: int = 0
    """How many tokens of a response are promised for."""
    responses: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """The largest scores (r,) of the tokens of responses to held-out prompts."""
    generation: dict[str, Any] | None = field(default_factory=dict)
    """The options of ``generate`` with which these were written; None where they are not known any more."""
    stream: NDArray[np.float64] | None = None
    """Scores (k,) of unlabelled prompts, which say what is usual now."""
    stream_responses: NDArray[np.float64] | None = None
    """The largest scores of the tokens of responses to these; None where only the held-out ones' are known."""
    _hookpoints: dict[str, list[Hookpoint]] = field(default_factory=dict)
    _ready: WatchedModel | None = None

    def description(self) -> str:
        """What it looks at and why, and what it can promise."""
        m = len(self.calibration)
        least = smallest_rate(m)
        return "\n".join(
            [
                f"Watched: {self.why}.",
                f"Sites: {', '.join(self.detectors.names)} (together: {self.detectors.aggregation}).",
                f"Fitted on {self.n_fit} trusted prompts; {len(self.detectors.scale)} measure the sites; p-values are "
                f"among {m} others.",
                f"The smallest false-alarm rate that it can promise is {least:.3g}, on average over monitors that are "
                f"made so; nine in ten of them have at most {realised_rate(least, m):.2g}.",
                *(
                    [f"Responses are promised for up to {self.new_tokens} tokens, by {len(self.responses)} of them."]
                    if self.new_tokens
                    else []
                ),
                *(
                    []
                    if self.stream is None
                    else [f"What is usual now is said by {len(self.stream)} unlabelled prompts{self._of_responses()}."]
                ),
            ]
        )

    def _of_responses(self) -> str:
        """What a stream says of responses, in words."""
        if not self.new_tokens:
            return ""
        if self.stream_responses is None:
            return ", and of responses by the trusted ones alone"
        return f", and by {len(self.stream_responses)} responses to them"

    @property
    def compares(self) -> bool:
        """Whether the base of the model is read, too."""
        return any(not variant.adapter for variant in self.features)

    def prepare(self, watched: WatchedModel) -> None:
        """Make ready for a model, which is the one that it was fitted on."""
        if self._ready is watched:
            return
        for feature in self.features.values():
            feature.prepare(watched.lm, self.base, Path("monitor"))
        self._hookpoints = {v.feature: feature.hookpoints(watched.lm) for v, feature in self.features.items()}
        self.learned = {
            v: {name: x.to(watched.device) for name, x in self.learned.get(v, {}).items()} for v in self.features
        }
        self.detectors.to(watched.device)
        self._ready = watched

    def hookpoints(self) -> dict[bool, list[Hookpoint]]:
        """What is read with the adapter on (True) and off (False), once it is prepared."""
        found: dict[bool, list[Hookpoint]] = {True: [], False: []}
        for variant in self.features:
            found[variant.adapter] += self._hookpoints[variant.feature]
        return {adapter: list(dict.fromkeys(points)) for adapter, points in found.items()}

    @cached_property
    def usual(self) -> NDArray[np.float64]:
        """Scores (m,) of the held-out prompts at all sites together; requests share them."""
        return self.detectors.total(self.calibration)

    def p_values(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (n,) of prompts from their scores at all sites together."""
        if self.stream is None:
            return conformal_p_values(totals, self.usual)
        return recalibrated_p_values(totals, self.usual, self.stream)

    def response_p_values(self, highest: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (n,) of responses from the largest score so far of the tokens of each."""
        if self.stream_responses is None:
            return conformal_p_values(highest, self.responses)
        return recalibrated_p_values(highest, self.responses, self.stream_responses)

    def table(self, site_scores: NDArray[np.float64], rate: float, *, select: bool = False) -> pd.DataFrame:
        """What `Monitor.score` returns, from the scores (n, sites) of prompts at all sites."""
        scores = self.detectors.total(site_scores)
        p_values = self.p_values(scores)
        alarms = (benjamini_hochberg(p_values) if select else p_values) <= rate
        columns = zip(site_scores.T, self.calibration.T, strict=True)
        alone = np.column_stack([conformal_p_values(x, held_out) for x, held_out in columns]) <= rate
        names = np.array(self.detectors.names)
        said = [", ".join(names[row]) if alarm else "" for row, alarm in zip(alone, alarms, strict=True)]
        table = pd.DataFrame(dict(zip(COLUMNS, (scores, p_values, alarms, said), strict=True)))
        return table.join(pd.DataFrame(site_scores, columns=self.detectors.names))

    def score_activations(self, watched: WatchedModel, activations: dict[bool, dict[Hookpoint, Tensor]]) -> Tensor:
        """Scores (b, sites) of tokens whose vectors (b, d) have been read, with the adapter on and off.

        Raises:
            DataError: a vector is NaN or infinite.
        """
        vectors: dict[Variant, Mapping[str, Tensor]] = {}
        for variant, feature in self.features.items():
            points = self._hookpoints[variant.feature]
            found = {point: activations[variant.adapter][point] for point in points}
            vectors[variant] = feature(Trace(watched.lm, found, {}, learned=self.learned[variant]))
        return self.detectors.site_scores(vectors)

    def score_batch(self, watched: WatchedModel, batch: dict[str, Any]) -> Tensor:
        """Scores (b, sites) of a batch of prompts.

        Raises:
            DataError: a vector is NaN or infinite.
        """
        vectors: dict[Variant, Mapping[str, Tensor]] = {}
        for adapter in (True, False):
            group = {v: feature for v, feature in self.features.items() if v.adapter is adapter}
            if not group:
                continue
            for variant, found in read_features(
                watched.model, watched.control, group, self._hookpoints, self.learned, batch
            ):
                for site, x in found.items():
                    require_finite(variant, site, x, batch["row"])
                vectors[variant] = found
        return self.detectors.site_scores(vectors)
