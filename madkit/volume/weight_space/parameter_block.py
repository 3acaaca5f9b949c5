"""One parameter as a block of the weight vector: its part of a direction, and its share of norms and products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from madkit.volume.weight_space.direction import Direction
from madkit.volume.weight_space.parameter_shard import ParameterShard

#: Elements of a direction that are generated at a time.
CHUNK = 1 << 22


@dataclass
class ParameterBlock:
    """One parameter of the weight vector. P is the preconditioner and g the normal vector of a direction."""

    name: str
    parameter: nn.Parameter
    shard: ParameterShard
    adapters: list[Tensor]
    """What adapters add to it; part of the centre, though not of the tensor that is moved."""
    scales: Tensor | None
    """The local part of the preconditioner."""

    def elements(self, direction: Direction, first: int, last: int) -> Tensor:
        """Elements ``first`` to ``last`` of P g in the local part, float32."""
        g = direction.normals(self.name, self.shard.global_index(first, last))
        return g if self.scales is None else g * self.scales.reshape(-1)[first:last].to(g)

    def step(self, direction: Direction) -> Tensor:
        """The local part of P g, in its shape and number format."""
        local = self.shard.local
        step = torch.empty(local.shape, dtype=local.dtype, device=local.device)
        for first, last in spans(local.numel()):
            step.view(-1)[first:last] = self.elements(direction, first, last)
        return step

    @torch.no_grad()
    def sums(self, direction: Direction | None, original: Tensor | None) -> Tensor:
        r"""\|theta\|^2 without a direction; with one \|g\|^2, \|P g\|^2 and (P g) . theta; (3,) float64 on the CPU.

        Args:
            direction: the direction, or None.
            original: the local part at the centre, where the parameter has been moved; None where it has not.
        """
        device = self.shard.local.device
        theta = self.shard.local if original is None else original
        theta = theta.to(device).double() if self.adapters else theta
        for delta in self.adapters:
            local = ParameterShard(self.name, delta).local
            theta = theta + (local if local.shape == theta.shape else self.shard.local_part(local)).double()
        theta = theta.reshape(-1)
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for first, last in spans(theta.numel()):
            x = theta[first:last].to(device).double()
            if direction is None:
                sums[0] += x @ x
                continue
            g = direction.normals(self.name, self.shard.global_index(first, last)).double()
            sums[0] += g @ g
            if self.scales is not None:
                g = g * self.scales.reshape(-1)[first:last].to(g)
            sums[1] += g @ g
            sums[2] += g @ x
        return self.shard.total(sums).cpu()


def spans(count: int) -> Iterator[tuple[int, int]]:
    """First and last element of each chunk of ``count`` elements."""
    return ((first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))
