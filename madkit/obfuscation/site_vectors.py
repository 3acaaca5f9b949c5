"""SiteVectors: what a model holds of some prompts at one site, with its adapter on and off."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SiteVectors(NamedTuple):
    """Last-token vectors of b prompts at one site."""

    base: Tensor
    """(b, d) float64 with the adapter off; (b, 0) where no detector looks at them."""
    tuned: Tensor
    """(b, d) float64 with the adapter on."""
