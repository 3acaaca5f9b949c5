"""SitePass: one site on its way through the `test` stage, with the scores that learn there and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.analysis.streaming_separation import StreamingSeparation
from madkit.data.prompts.characters import name_order
from madkit.derived import DerivedFeature
from madkit.detection import pca
from madkit.detection.row_pools import gathered, keep
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.supervised_probe import PROBE, probe
from madkit.errors import DataError
from madkit.scores import Score, ScoreCollection
from madkit.streaming.pool import Pool


class SitePass:
    """The scores of a site, from the first block of its vectors to the last.

    Scores see vectors of a split, never labels; what is told the labels are the separation and the ceiling alone. Each
    process has the blocks that it was given, and `site_scores` and `projection` are of all of them, so that all
    processes have to ask for these.

    Args:
        key: the feature and the site.
        scores: those of the feature, not fitted, which are this site's own from now on.
        derived: what makes vectors of those that are stored, this site's own as well; None where those are read.
        prompts: the test prompts by row, with `row`, `anomalous`, `name` and `statement`.
        ceiling: whether a probe is told the labels, at a site of dense stored vectors.
        device: where vectors are.
    """

    def __init__(
        self,
        key: SiteKey,
        scores: Sequence[Score],
        derived: DerivedFeature | None,
        prompts: pd.DataFrame,
        ceiling: bool,
        device: torch.device,
    ) -> None:
        self.key = key
        self.scores = ScoreCollection(list(scores)).to(device)
        self.derived = derived.to(device) if derived is not None else None
        self.separation = StreamingSeparation()
        self._prompts, self._ceiling = prompts, ceiling
        self._drawn = torch.from_numpy(pca.sample(prompts["row"].to_numpy()))
        self._pools = {name: Pool().to(device) for name in ("calibration", "test", "vectors")}
        # Every process, with rows or without, comes to the same answer: a feature is sparse for all of them.
        self._with_probe = False

    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        """The vectors (b, d) that scores read: what is stored, or what is derived of it."""
        return sources[0] if self.derived is None else self.derived(sources, trusted=trusted)

    def is_dense_and_stored(self, x: Tensor) -> bool:
        """Whether vectors x (b, d) are those of the store, and not sparse ones."""
        return self.derived is None and x.layout == torch.strided

    def score(self, role: str, rows: Tensor, x: Tensor) -> None:
        """Score vectors x (b, d) of calibration, test or distractor prompts (b,). With the first, learning ends."""
        try:
            self.scores.finalize()
        except DataError as error:
            raise DataError(f"{self.key[0]} at {self.key[1]}: {error}") from error
        values = torch.stack(list(self.scores(x).values()), dim=1)
        # Distractors are scored as test prompts are, and judged by themselves.
        keep(self._pools["test" if role == "distractor" else role], rows, values)
        if role != "test":
            return
        anomalous = self._prompts.loc[rows.cpu().numpy(), "anomalous"].to_numpy(dtype=bool)
        self.separation.update(x, torch.tensor(anomalous, device=x.device))
        self._with_probe = self._ceiling and self.is_dense_and_stored(x)
        if self._with_probe:
            keep(self._pools["vectors"], rows, x)
        elif x.layout == torch.strided:
            drawn = torch.isin(rows, self._drawn.to(rows.device))
            keep(self._pools["vectors"], rows[drawn], x[drawn])

    def site_scores(self) -> SiteScores:
        """What the scores gave, and the ceiling beside them."""
        names = list(self.scores.names)
        rows, values = gathered(self._pools["test"], len(names))
        held_out, calibration = gathered(self._pools["calibration"], len(names))
        if self._with_probe:
            vector_rows, vectors = self._kept_vectors
            column = np.full(len(values), np.nan)
            column[np.isin(rows, vector_rows)] = self._probe(vector_rows, vectors)
            values = np.column_stack([values, column])
            calibration = np.column_stack([calibration, np.full(len(calibration), np.nan)])
            names.append(PROBE)
        return SiteScores(names, rows, values, held_out, calibration)

    def projection(self) -> pca.Projection | None:
        """Where some test prompts lie; None where vectors are sparse."""
        rows, vectors = self._kept_vectors
        if not len(rows):
            return None
        drawn = np.isin(rows, self._drawn.numpy())
        return pca.project(rows[drawn], vectors[drawn])

    def recalls(self) -> dict[tuple[SiteKey, str], float]:
        """Of scores with an approximate search, what share of the neighbours it finds."""
        fitted = {name: dict(score.named_buffers()) for name, score in self.scores.items()}
        return {(self.key, name): float(buffers["recall"]) for name, buffers in fitted.items() if "recall" in buffers}

    def save(self, folder: Path) -> None:
        """The fitted scores, in ``<feature>/<score>/<site>``, and what the derived feature has learned, beside them."""
        variant, site = self.key
        for name, score in self.scores.items():
            score.save(folder / str(variant) / name / site)
        if self.derived is not None:
            self.derived.save(folder / str(variant) / "derived" / site)

    @cached_property
    def _kept_vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return gathered(self._pools["vectors"], self.scores[self.scores.names[0]].d)

    def _probe(self, rows: NDArray[np.int64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        prompts = self._prompts.loc[rows]
        anomalous, statements = prompts["anomalous"].to_numpy(dtype=bool), pd.factorize(prompts["statement"])[0]
        # Where nobody is named, what is not independent is a statement's prompts.
        if not prompts["name"].any():
            return probe(x, anomalous, statements)
        return probe(x, anomalous, name_order(prompts["name"].tolist()), statements)
