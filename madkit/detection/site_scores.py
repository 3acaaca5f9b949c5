"""Scores at the sites of a feature, before they are tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from madkit.store.variant import Variant

#: A feature and one of its sites. Sites of two features may have the same name.
SiteKey = tuple[Variant, str]


@dataclass(frozen=True)
class SiteScores:
    """Scores of all prompts at one site, of all processes."""

    names: list[str]
    """The scores."""
    rows: NDArray[np.int64]
    """(n,) the test prompts, ascending; before results are made also the distractors."""
    values: NDArray[np.float64]
    """(n, scores)."""
    held_out: NDArray[np.int64]
    """(m,) the calibration prompts, ascending; none where the store has none."""
    calibration: NDArray[np.float64]
    """(m, scores); NaN for the ceiling."""

    def of(self, rows: NDArray[np.int64]) -> SiteScores:
        """The same of some of the test prompts (k,), ascending."""
        if np.array_equal(rows, self.rows):
            return self
        chosen = np.isin(self.rows, rows)
        return replace(self, rows=self.rows[chosen], values=self.values[chosen])

    def without(self, name: str) -> SiteScores:
        """The same without one of the scores, if it is there."""
        kept = [index for index, own in enumerate(self.names) if own != name]
        names = [self.names[index] for index in kept]
        return replace(self, names=names, values=self.values[:, kept], calibration=self.calibration[:, kept])


def by_feature(sites: Mapping[SiteKey, SiteScores]) -> dict[Variant, list[SiteScores]]:
    """The scores of the sites of each feature, in their order."""
    groups: dict[Variant, list[SiteScores]] = {}
    for (variant, _), scores in sites.items():
        groups.setdefault(variant, []).append(scores)
    return groups
