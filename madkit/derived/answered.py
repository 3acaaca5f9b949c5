"""A prompt's vector beside the model's own answer to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from madkit.derived.derived_feature import DerivedFeature, DerivedSite
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


class Answered(DerivedFeature):
    """The vector, followed by the log odds of the model's own answer: (b, d + 1).

    For scores that compare a prompt with trusted ones that got the same answer, such as `AnswerMahalanobis`.

    Args:
        feature: the stored feature; the feature ``answers`` has to be stored too.

    Example:
        >>> Answered()([torch.tensor([[5.0]]), torch.tensor([[-1.0, 2.0]])])
        tensor([[5., 3.]], dtype=torch.float64)
    """

    @override
    def variants(self) -> list[Variant]:
        return [Variant(self.feature), Variant("answers")]

    @override
    def sites(self, stored: Mapping[Variant, FeatureStore]) -> list[DerivedSite]:
        variant, answers = self.variants()
        layers = stored[variant].layers
        return [DerivedSite(site, layers[site], ((variant, site), (answers, "logits"))) for site in layers]

    @override
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        x, logits = sources
        return torch.cat([x, log_odds(logits)[:, None]], dim=1)


def log_odds(logits: Tensor) -> Tensor:
    """Log odds (b,) of the second of two choices, from their logits (b, 2)."""
    return logits[:, 1] - logits[:, 0]


def answers_of(logits: Tensor) -> Tensor:
    """Whether the second of two choices is the answer, (b,), from their logits (b, 2)."""
    return log_odds(logits) > 0
