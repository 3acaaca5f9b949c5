"""A linear probe to escape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from madkit.obfuscation.evaded_detector import EvadedDetector
from madkit.obfuscation.site_vectors import SiteVectors
from madkit.streaming import Moments, merge_processes
from madkit.streaming.ridge import ridge_regression


class EvadedProbe(EvadedDetector):
    """A linear probe that is told which prompts are anomalous: a ridge regression of that on activations.

    No detector of madkit sees labels; a probe is what a defender could do who had caught some anomalies, and what
    Bailey et al. (arXiv 2412.09565, section 3) train against.
    """

    is_positive: ClassVar[bool] = False

    def __init__(self) -> None:
        self._direction = torch.zeros(0, dtype=torch.float64)

    @override
    def fit(self, trusted: SiteVectors, normal: SiteVectors, anomalous: SiteVectors) -> None:
        x = torch.cat([normal.tuned, anomalous.tuned])
        told = torch.cat([x.new_zeros(len(normal.tuned), 1), x.new_ones(len(anomalous.tuned), 1)])
        moments = Moments().to(x.device)
        moments.update(torch.cat([x, told], dim=1))
        statistics = merge_processes(moments).result()
        self._direction = ridge_regression(statistics.varied("probe"), x.shape[1]).coefficients[:, 0]

    @override
    def scores(self, vectors: SiteVectors) -> Tensor:
        return vectors.tuned @ self._direction

    @override
    def state(self) -> dict[str, Tensor]:
        return {"direction": self._direction}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._direction = state["direction"]
