"""The layers of a flow, built from nflows transforms; nothing outside this file imports nflows."""

from __future__ import annotations

from typing import Any

import torch
from nflows.distributions import Distribution
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
    Transform,
)
from torch import Tensor, nn

_LOG_SCALE = 2.0
"""An affine coupling stretches or shrinks a coordinate at most by e to this power."""
_TAIL = 6.0
"""Splines bend within this many standard deviations and are straight beyond."""


class Whitening(Transform):
    """z = directions (x - mean) / scales, a fixed linear map; of standardised coordinates by default.

    Its tensors are parameters that are not trained, because DDP would send buffers of d^2 numbers round at every step.
    """

    def __init__(self, width: int, rotate: bool) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.scales = nn.Parameter(torch.ones(width), requires_grad=False)
        self.directions = nn.Parameter(torch.eye(width), requires_grad=False) if rotate else None

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Whitened rows (n, d) and the log determinant (n,)."""
        x = inputs - self.mean
        x = x if self.directions is None else x @ self.directions.T
        return x / self.scales, -self.scales.log().sum().expand(len(x))

    def inverse(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        x = inputs * self.scales
        x = x if self.directions is None else x @ self.directions
        return x + self.mean, self.scales.log().sum().expand(len(x))


class AffineCoupling(AffineCouplingTransform):
    """An affine coupling whose scale may grow as well as shrink.

    The one of nflows keeps scales below 1.001, so that a stack of them can only contract.
    """

    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = transform_params.chunk(2, dim=1)
        return torch.exp(_LOG_SCALE * torch.tanh(raw / _LOG_SCALE)), shift


class ResidualMLP(nn.Module):
    """Parameters of a coupling from the coordinates that it leaves unchanged; all zeros before training.

    The attribute ``hidden_features`` is what nflows scales spline parameters by.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.hidden_features = hidden
        self.first = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
            for _ in range(blocks)
        )
        self.last = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        """Rows (n, inputs) to (n, outputs)."""
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(nn.functional.silu(x))


class Laplace(Distribution):
    """Independent Laplace(0, 1) coordinates: density exp(-|z|) / 2 each."""

    def _log_prob(self, inputs: Tensor, context: Any) -> Tensor:
        return -inputs.abs().sum(1) - inputs.shape[1] * torch.log(inputs.new_tensor(2.0))


def coupling_stack(
    width: int, *, couplings: int, hidden: int, blocks: int, splines: int, whiten: bool
) -> CompositeTransform:
    """Whitening, then couplings, each behind a random permutation, of which one half bends the other half.

    Args:
        width: d.
        couplings: number of couplings.
        hidden: width of each coupling's network.
        blocks: residual blocks of each network.
        splines: bins of rational-quadratic couplings (Durkan et al. 2019); 0 for affine ones (Dinh et al. 2017).
        whiten: rotate onto principal components, rather than only scale each coordinate.
    """
    mask = torch.arange(width) % 2

    def network(inputs: int, outputs: int) -> nn.Module:
        return ResidualMLP(inputs, outputs, hidden, blocks)

    layers: list[Transform] = [Whitening(width, whiten)]
    for _ in range(couplings):
        if splines:
            bend = PiecewiseRationalQuadraticCouplingTransform(
                mask, network, num_bins=splines, tails="linear", tail_bound=_TAIL
            )
        else:
            bend = AffineCoupling(mask, network)
        layers += [RandomPermutation(width), bend]
    return CompositeTransform(layers)
