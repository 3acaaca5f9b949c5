"""Mahalanobis distances to escape: of activations, of what an adapter changes, of what the base does not explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from madkit.derived import Conditional, Delta, DerivedFeature
from madkit.obfuscation.evaded_detector import EvadedDetector
from madkit.obfuscation.site_vectors import SiteVectors
from madkit.scores import Mahalanobis


class EvadedMahalanobis(EvadedDetector):
    """The Mahalanobis distance of activations, as `madkit test` computes it."""

    def __init__(self) -> None:
        self._feature: DerivedFeature | None = None
        self._score = Mahalanobis()

    def make_feature(self) -> DerivedFeature | None:
        """What becomes of the vectors before they are scored, unfitted; None for the activations themselves."""
        return None

    @override
    def fit(self, trusted: SiteVectors, normal: SiteVectors, anomalous: SiteVectors) -> None:
        self._feature, self._score = self.make_feature(), Mahalanobis()
        if self._feature is not None and not self._feature.fitted:
            self._feature.update(trusted)
            self._feature.finalize([x.shape[1] for x in trusted])
        self._score.update(self._vectors(trusted, trusted=True))
        self._score.finalize()

    @override
    def scores(self, vectors: SiteVectors) -> Tensor:
        # Not by calling the two: what they check of users' rows takes no gradients.
        return self._score.score(self._vectors(vectors, trusted=False))

    def _vectors(self, vectors: SiteVectors, trusted: bool) -> Tensor:
        return vectors.tuned if self._feature is None else self._feature.vectors(vectors, trusted)

    @override
    def state(self) -> dict[str, Tensor]:
        parts: dict[str, nn.Module | None] = {"feature": self._feature, "score": self._score}
        return {
            f"{part}.{name}": tensor
            for part, module in parts.items()
            if module is not None
            for name, tensor in module.named_buffers(recurse=False)
        }

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._feature, self._score = self.make_feature(), Mahalanobis()
        for key, tensor in state.items():
            part, name = key.split(".")
            module = self._score if part == "score" else self._feature
            if module is not None:
                module.register_buffer(name, tensor)
                module.fitted = True


class EvadedDelta(EvadedMahalanobis):
    """The same of what the adapter changes in an activation."""

    needs_base: ClassVar[bool] = True

    @override
    def make_feature(self) -> DerivedFeature:
        return Delta()


class EvadedConditional(EvadedMahalanobis):
    """The same of the studentised residual that a regression on the base model's activation leaves."""

    needs_base: ClassVar[bool] = True

    @override
    def make_feature(self) -> DerivedFeature:
        return Conditional(studentised=True)
