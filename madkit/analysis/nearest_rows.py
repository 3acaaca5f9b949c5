"""Which trusted rows a row resembles most."""

from __future__ import annotations

import torch
from torch import Tensor

from madkit.errors import DataError

_BLOCK = 1024
"""Rows whose distances are in memory together."""


class NearestRows:
    """The nearest of some trusted rows, in standard deviations of these.

    The distance of x to t is sqrt(mean_j ((x_j - t_j) / s_j)^2), with s_j the standard deviation of the trusted rows
    in feature j: no feature counts more because it is large. One that is constant in the trusted rows counts as it is.

    Args:
        trusted: (m, d) float64.
        k: neighbours of a row, fewer where there are fewer trusted rows.

    Example:
        >>> trusted = torch.tensor([[0.0], [2.0], [4.0]], dtype=torch.float64)
        >>> index, distance = NearestRows(trusted, k=2)(torch.tensor([[3.5]], dtype=torch.float64))
        >>> index.tolist(), distance.mul(trusted.std(0, correction=0)).round(decimals=6).tolist()
        ([[2, 1]], [[0.5, 1.5]])
    """

    def __init__(self, trusted: Tensor, k: int) -> None:
        if trusted.ndim != 2 or not len(trusted):
            raise DataError(f"trusted has shape {tuple(trusted.shape)}: give some rows of features, (m, d)")
        deviation = trusted.std(dim=0, correction=0)
        self._scale = torch.where(deviation > 0, deviation, 1.0) * max(trusted.shape[1], 1) ** 0.5
        self._trusted = trusted / self._scale
        self.k = min(k, len(trusted))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of the nearest trusted rows and their distances, (b, k) each, nearest first; x is (b, d)."""
        return self._nearest(x / self._scale, self.k)

    def typical(self) -> float:
        """The median distance of a trusted row to the nearest other one; NaN where there is no other."""
        if len(self._trusted) < 2:
            return float("nan")
        blocks = [self._nearest(block, 2)[1][:, 1] for block in self._trusted.split(_BLOCK)]
        return float(torch.cat(blocks).median())

    def _nearest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        empty = x.new_zeros(0, k)
        parts = [torch.topk(torch.cdist(block, self._trusted), k, largest=False) for block in x.split(_BLOCK)]
        parts = [part for part in parts if len(part.values)]
        if not parts:
            return empty.long(), empty
        return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])
