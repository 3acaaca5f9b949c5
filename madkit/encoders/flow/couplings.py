"""The layers of a flow: a whitening, and couplings of which one half of the coordinates bends the other.

Their tensors are called as they were by nflows 0.14, on which earlier flows were built, so that those can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from madkit.encoders.flow.rational_quadratic import Spline

_LOG_SCALE = 2.0
"""An affine coupling stretches or shrinks a coordinate at most by e to this power."""
_TAIL = 6.0
"""Splines bend within this many standard deviations and are straight beyond."""


class Whitening(nn.Module):
    """z = directions (x - mean) / scales, a fixed linear map; of standardised coordinates by default.

    Its tensors are parameters that are not trained, because DDP would send buffers of d^2 numbers round at every step.
    """

    def __init__(self, width: int, rotate: bool) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.scales = nn.Parameter(torch.ones(width), requires_grad=False)
        self.directions = nn.Parameter(torch.eye(width), requires_grad=False) if rotate else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened rows (n, d) and the log determinant (n,)."""
        x = inputs - self.mean
        x = x if self.directions is None else x @ self.directions.T
        return x / self.scales, -self.scales.log().sum().expand(len(x))

    def inverse(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        x = inputs * self.scales
        x = x if self.directions is None else x @ self.directions
        return x + self.mean, self.scales.log().sum().expand(len(x))


class Permutation(nn.Module):
    """The coordinates in another order, drawn once."""

    _permutation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("_permutation", torch.randperm(width))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (n, d) in that order, and zeros (n,)."""
        return inputs.index_select(1, self._permutation), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        return inputs.index_select(1, self._permutation.argsort()), inputs.new_zeros(len(inputs))


class Coupling(nn.Module):
    """Every other coordinate is bent, by numbers that a network makes of those that stay.

    Args:
        width: d.
        numbers: how many numbers bend one coordinate.
        network: makes a network of its numbers of inputs and outputs.
    """

    identity_features: Tensor
    transform_features: Tensor

    def __init__(self, width: int, numbers: int, network: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        places = torch.arange(width)
        self.register_buffer("identity_features", places[places % 2 == 0])
        self.register_buffer("transform_features", places[places % 2 == 1])
        self.transform_net = network(len(self.identity_features), len(self.transform_features) * numbers)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (n, d) and the log determinant (n,)."""
        return self._bent(inputs, self.bend)

    def inverse(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        return self._bent(inputs, self.unbend)

    def bend(self, x: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (n, m) after the numbers (n, m * k), and the logarithms of slopes (n, m)."""
        raise NotImplementedError

    def unbend(self, y: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `bend`."""
        raise NotImplementedError

    def _bent(self, inputs: Tensor, bend: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        kept = inputs[:, self.identity_features]
        bent, log_slopes = bend(inputs[:, self.transform_features], self.transform_net(kept))
        outputs = torch.empty_like(inputs)
        outputs[:, self.identity_features] = kept
        outputs[:, self.transform_features] = bent
        return outputs, log_slopes.sum(1)


class AffineCoupling(Coupling):
    """Stretches and shifts (Dinh et al. 2017, Real NVP); the scale may grow as well as shrink."""

    def __init__(self, width: int, network: Callable[[int, int], nn.Module]) -> None:
        super().__init__(width, 2, network)

    def bend(self, x: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        scale, shift = _scale_and_shift(numbers)
        return x * scale + shift, scale.log()

    def unbend(self, y: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `bend`."""
        scale, shift = _scale_and_shift(numbers)
        return (y - shift) / scale, -scale.log()


def _scale_and_shift(numbers: Tensor) -> tuple[Tensor, Tensor]:
    shift, raw = numbers.chunk(2, dim=1)
    return torch.exp(_LOG_SCALE * torch.tanh(raw / _LOG_SCALE)), shift


class SplineCoupling(Coupling):
    """Bends by monotone rational-quadratic splines (Durkan et al. 2019).

    Args:
        width: d.
        bins: of each spline.
        hidden: width of the network, by whose root the numbers before a softmax are scaled down.
        network: as for `Coupling`.
    """

    def __init__(self, width: int, bins: int, hidden: int, network: Callable[[int, int], nn.Module]) -> None:
        super().__init__(width, 3 * bins - 1, network)
        self.bins = bins
        self.hidden = hidden

    def bend(self, x: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Along each coordinate's spline."""
        return self._spline(x, numbers).forward(x)

    def unbend(self, y: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `bend`."""
        return self._spline(y, numbers).inverse(y)

    def _spline(self, x: Tensor, numbers: Tensor) -> Spline:
        raw = numbers.reshape(*x.shape, 3 * self.bins - 1)
        widths, heights, slopes = raw.split([self.bins, self.bins, self.bins - 1], -1)
        return Spline(widths / sqrt(self.hidden), heights / sqrt(self.hidden), slopes, _TAIL)


class Stack(nn.Module):
    """Layers one after another; their log determinants add up."""

    def __init__(self, whitening: Whitening, *layers: nn.Module) -> None:
        super().__init__()
        self._transforms = nn.ModuleList([whitening, *layers])

    @property
    def whitening(self) -> Whitening:
        """The first layer."""
        layer: Any = self._transforms[0]
        return layer

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (n, d) through all layers and the log determinant (n,)."""
        return self._through(inputs, list(self._transforms))

    def inverse(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        layers: Any = reversed(self._transforms)
        return self._through(inputs, [layer.inverse for layer in layers])

    def _through(self, rows: Tensor, layers: list[Any]) -> tuple[Tensor, Tensor]:
        total = rows.new_zeros(len(rows))
        for layer in layers:
            rows, log_det = layer(rows)
            total = total + log_det
        return rows, total


class ResidualMLP(nn.Module):
    """Parameters of a coupling from the coordinates that it leaves unchanged; all zeros before training."""

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
            for _ in range(blocks)
        )
        self.last = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (n, inputs) to (n, outputs)."""
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(nn.functional.silu(x))


def laplace_log_prob(z: Tensor) -> Tensor:
    """Log density (n,) of independent Laplace(0, 1) coordinates (n, d): exp(-|z|) / 2 each."""
    return -z.abs().sum(1) - z.shape[1] * torch.log(z.new_tensor(2.0))


def coupling_stack(width: int, *, couplings: int, hidden: int, blocks: int, splines: int, whiten: bool) -> Stack:
    """Whitening, then couplings, each behind a random permutation, of which one half bends the other half.

    Args:
        width: d.
        couplings: number of couplings.
        hidden: width of each coupling's network.
        blocks: residual blocks of each network.
        splines: bins of rational-quadratic couplings (Durkan et al. 2019); 0 for affine ones (Dinh et al. 2017).
        whiten: rotate onto principal components, rather than only scale each coordinate.
    """

    def network(inputs: int, outputs: int) -> nn.Module:
        return ResidualMLP(inputs, outputs, hidden, blocks)

    layers: list[nn.Module] = []
    for _ in range(couplings):
        coupling = SplineCoupling(width, splines, hidden, network) if splines else AffineCoupling(width, network)
        layers += [Permutation(width), coupling]
    return Stack(Whitening(width, whiten), *layers)
