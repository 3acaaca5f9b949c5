"""A detector: a feature, and a score for its vectors."""

from __future__ import annotations

from dataclasses import dataclass

from madkit.scores import Score
from madkit.store.variant import Variant


@dataclass
class Detector:
    """A feature and a score for it.

    Args:
        feature: the name of a feature in the store.
        score: how a vector becomes a number.
        adapter: ``false`` for the control: the same feature, read with the adapter switched off, which has to be among
            the ``controls`` of `madkit predict`.
    """

    feature: str
    score: Score
    adapter: bool = True

    @property
    def variant(self) -> Variant:
        """Which vectors it reads."""
        return Variant(self.feature, self.adapter)

    @property
    def key(self) -> tuple[Variant, str]:
        """Feature, adapter and the score's name, which must be unique among the detectors of a recipe."""
        return self.variant, self.score.name
