"""Monotone rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows, section 3.1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST = 1e-3
"""The least share of a bin in the width or height of all, and the least slope at a knot."""


class Spline(NamedTuple):
    """Splines of several coordinates, each increasing from (-bound, -bound) to (bound, bound), and straight beyond."""

    widths: Tensor
    """(..., bins): any numbers; shares of the width after a softmax."""
    heights: Tensor
    """(..., bins): the same of the height."""
    slopes: Tensor
    """(..., bins - 1): any numbers; slopes at the inner knots after a softplus. Those at the ends are 1."""
    bound: float
    """Where it becomes straight, y = x."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give y and log dy/dx, both of the shape of ``x`` (...).

        Example:
            >>> spline = Spline(torch.zeros(1, 4), torch.zeros(1, 4), torch.full((1, 3), math.log(math.e - 1)), 6.0)
            >>> y, log_slope = spline.forward(torch.tensor([2.5]))
            >>> round(float(y), 3), abs(round(float(log_slope), 2))
            (2.5, 0.0)
        """
        inside = (x >= -self.bound) & (x <= self.bound)
        within = x.clamp(-self.bound, self.bound)
        bins = self._bins(within, by_height=False)
        share = (within - bins.left) / bins.width
        product = share * (1 - share)
        denominator = bins.ratio + (bins.slope + bins.next_slope - 2 * bins.ratio) * product
        y = bins.bottom + bins.height * (bins.ratio * share.pow(2) + bins.slope * product) / denominator
        log_slope = bins.log_slope(share)
        return torch.where(inside, y, x), torch.where(inside, log_slope, torch.zeros_like(x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Give x and log dx/dy, both of the shape of ``y`` (...): the root of a quadratic that lies in its bin."""
        inside = (y >= -self.bound) & (y <= self.bound)
        within = y.clamp(-self.bound, self.bound)
        bins = self._bins(within, by_height=True)
        bend = bins.slope + bins.next_slope - 2 * bins.ratio
        above = within - bins.bottom
        a = above * bend + bins.height * (bins.ratio - bins.slope)
        b = bins.height * bins.slope - above * bend
        c = -bins.ratio * above
        # Not the usual formula, which loses all digits where a is near 0. Rounding may take what is 0 below it.
        share = 2 * c / (-b - (b.pow(2) - 4 * a * c).clamp(min=0).sqrt())
        x = share * bins.width + bins.left
        return torch.where(inside, x, y), torch.where(inside, -bins.log_slope(share), torch.zeros_like(y))

    def _bins(self, value: Tensor, *, by_height: bool) -> _Bins:
        """The bin of each value."""
        lefts, bottoms = _knots(self.widths, self.bound), _knots(self.heights, self.bound)
        widths, heights = lefts.diff(dim=-1), bottoms.diff(dim=-1)
        ends = math.log(math.exp(1 - _SMALLEST) - 1)  # of which the softplus gives a slope of 1
        slopes = _SMALLEST + F.softplus(F.pad(self.slopes, (1, 1), value=ends))
        inner = (bottoms if by_height else lefts)[..., 1:-1]
        index = (value[..., None] >= inner).sum(-1, keepdim=True)

        def taken(numbers: Tensor) -> Tensor:
            return numbers.gather(-1, index)[..., 0]

        return _Bins(
            taken(lefts), taken(bottoms), taken(widths), taken(heights),
            taken(heights / widths), taken(slopes), taken(slopes[..., 1:]),
        )  # fmt: skip


class _Bins(NamedTuple):
    """Of each value the bin that it is in."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    ratio: Tensor
    """Height by width."""
    slope: Tensor
    """At the knot to the left."""
    next_slope: Tensor
    """At the knot to the right."""

    def log_slope(self, share: Tensor) -> Tensor:
        """The logarithm of the slope at a share of the bin's width."""
        product = share * (1 - share)
        numerator = self.ratio.pow(2) * (
            self.next_slope * share.pow(2) + 2 * self.ratio * product + self.slope * (1 - share).pow(2)
        )
        denominator = self.ratio + (self.slope + self.next_slope - 2 * self.ratio) * product
        return numerator.log() - 2 * denominator.log()


def _knots(raw: Tensor, bound: float) -> Tensor:
    """The ends of bins (..., bins + 1), from -bound to bound."""
    shares = _SMALLEST + (1 - _SMALLEST * raw.shape[-1]) * raw.softmax(-1)
    inner = 2 * bound * shares.cumsum(-1)[..., :-1] - bound
    end = torch.full_like(inner[..., :1], bound)
    return torch.cat([-end, inner, end], -1)
