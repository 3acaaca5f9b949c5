"""EvadedDetector: a detector at one site that a model is trained to escape, differentiable in the model's vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from madkit.obfuscation.site_vectors import SiteVectors


class EvadedDetector(ABC):
    """A detector that is fitted again and again while a model is trained against it.

    Fitting takes no gradient: between two fits the detector stands still, as in the game that Bailey et al. play
    (arXiv 2412.09565, section 4), and gradients reach the model through the vectors that are scored.

    Class attributes:
        needs_base: whether it looks at the vectors with the adapter off.
        is_positive: whether scores are distances, which are compared on a logarithmic scale.
    """

    needs_base: ClassVar[bool] = False
    is_positive: ClassVar[bool] = True

    @abstractmethod
    def fit(self, trusted: SiteVectors, normal: SiteVectors, anomalous: SiteVectors) -> None:
        """Learn anew, merged over all processes, each of which gives its share of the prompts (or none).

        Args:
            trusted: prompts that an unsupervised detector learns from.
            normal: prompts of the training that show no quirk, for a detector that is told labels.
            anomalous: those that do.
        """

    @abstractmethod
    def scores(self, vectors: SiteVectors) -> Tensor:
        """How anomalous each prompt is, (b,) float64; higher is more so."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What it has learned, for a checkpoint."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave."""
