"""ActivationSource: what encoders need of the data module that they are trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torchmetrics import Metric

from madkit.lm.hooks import Hookpoint


class ActivationSource(Protocol):
    """A data module whose batches are vectors (n, d) by site."""

    positions: str
    """The token positions that the vectors are from."""

    @property
    def widths(self) -> dict[str, int]:
        """The length of each site's vectors."""

    @property
    def hookpoints(self) -> dict[str, Hookpoint]:
        """The tensor of each site."""

    @property
    def base_fingerprint(self) -> str:
        """Which exact weights the base model has."""

    def identity(self) -> dict[str, Any]:
        """What the vectors are, as plain data."""

    def statistics(self, make: Callable[[], Metric], device: torch.device) -> dict[str, Any]:
        """Exact statistics of training vectors, over all processes, by site.

        Args:
            make: gives an empty accumulator.
            device: where to compute.
        """
