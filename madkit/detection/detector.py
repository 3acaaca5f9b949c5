"""A detector: a feature, and a score for its vectors."""

from __future__ import annotations

from dataclasses import dataclass

from madkit.derived import DerivedFeature
from madkit.errors import ConfigError
from madkit.scores import Score
from madkit.store.variant import Variant


@dataclass
class Detector:
    """A feature and a score for it.

    Args:
        feature: the name of a feature in the store, or one that is made of stored ones (`madkit.derived`).
        score: how a vector becomes a number.
        adapter: ``false`` for the control: the same feature, read with the adapter switched off, which has to be among
            the ``controls`` of `madkit predict`.

    Raises:
        ConfigError: a control of a derived feature, which says itself what it reads.
    """

    feature: str | DerivedFeature
    score: Score
    adapter: bool = True

    def __post_init__(self) -> None:
        if self.derived is not None and not self.adapter:
            raise ConfigError(
                f"a detector has feature={self.derived.name!r} and adapter=false: a derived feature says itself "
                "whether the adapter is on; leave `adapter` out"
            )

    @property
    def derived(self) -> DerivedFeature | None:
        """The feature, if it is made of stored ones."""
        return self.feature if isinstance(self.feature, DerivedFeature) else None

    @property
    def variant(self) -> Variant:
        """Which vectors it scores."""
        return Variant(self.feature if isinstance(self.feature, str) else self.feature.name, self.adapter)

    @property
    def needs(self) -> list[str]:
        """What it needs besides the model that is watched."""
        needs = ["trusted prompts", *(self.derived.needs if self.derived is not None else [])]
        return [*needs, "untrusted prompts"] if self.score.offline else needs

    @property
    def key(self) -> tuple[Variant, str]:
        """Feature, adapter and the score's name, which must be unique among the detectors of a recipe."""
        return self.variant, self.score.name
