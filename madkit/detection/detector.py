"""A detector: a feature, and a score for its vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from madkit.derived import DerivedFeature
from madkit.errors import ConfigError
from madkit.scores import Score
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import ADAPTER_WEIGHTS, BASE_MODEL, Variant

#: What a detector may need, in the order in which results name it.
_NEEDS = ("trusted prompts", BASE_MODEL, ADAPTER_WEIGHTS, "untrusted prompts")


class Assumptions(NamedTuple):
    """What a detector is told and has to have, as results name it."""

    setting: str
    """``online``, ``offline``, or the name of a control that is told labels."""
    untrusted: str
    """What counted as untrusted; empty for an online score."""
    needs: str
    """What it needs besides the model that is watched."""


@dataclass
class Detector:
    """A feature and a score for it.

    Args:
        feature: the name of a feature in the store, or one that is made of stored ones (`madkit.derived`).
        score: how a vector becomes a number.
        adapter: ``false`` for the control: the same feature, read with the adapter switched off, which has to be among
            the ``controls`` of `madkit predict`.
        background: subtract the same score of the same feature with the adapter off, each of them as a z-score against
            the calibration prompts (trusted ones that no detector has learned from). What is as unusual for the base
            model falls out. Such a background is subtracted in Ren et al. (2019), arXiv 1906.02845.

    Raises:
        ConfigError: a control, or a background, of a derived feature, which says itself what it reads; or both at once.
    """

    feature: str | DerivedFeature
    score: Score
    adapter: bool = True
    background: bool = False

    def __post_init__(self) -> None:
        if self.background and (self.derived is not None or not self.adapter):
            what = f"feature={self.derived.name!r}" if self.derived is not None else "adapter=false"
            raise ConfigError(
                f"a detector has {what} and background=true, which compares a stored feature with the adapter on with "
                "the same off: leave one of them out"
            )
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
    def reads(self) -> list[Variant]:
        """The stored features that it is made of."""
        if self.derived is not None:
            return self.derived.variants()
        return [part.variant for part in self.parts]

    @property
    def parts(self) -> list[Detector]:
        """The detectors whose scores it is made of: itself, or with a background the two that are compared."""
        if not self.background:
            return [self]
        return [Detector(self.feature, self.score, adapter) for adapter in (True, False)]

    def needs(self, stored: Mapping[Variant, FeatureStore]) -> str:
        """What it needs besides the model that is watched, as results name it.

        Args:
            stored: the stores of what it `reads`, which know what their features need.
        """
        needs = {"trusted prompts", *(self.derived.needs if self.derived is not None else ())}
        for variant in self.reads:
            needs.update(stored[variant].identity["feature"].get("needs", ()))
            if not variant.adapter:
                needs.add(BASE_MODEL)
        if self.score.offline:
            needs.add("untrusted prompts")
        return in_order(needs)

    @property
    def key(self) -> tuple[Variant, str]:
        """Feature, adapter and the score's name, which must be unique among the detectors of a recipe."""
        return self.variant, self.score.name + ("_background" if self.background else "")


def in_order(needs: Iterable[str]) -> str:
    """What is needed as results name it: what detectors may need first, then anything else.

    Example:
        >>> in_order({"untrusted prompts", "trusted prompts"})
        'trusted prompts, untrusted prompts'
    """
    return ", ".join(sorted(needs, key=lambda need: (_NEEDS.index(need) if need in _NEEDS else len(_NEEDS), need)))
