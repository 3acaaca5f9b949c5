"""Which part of a parameter this process holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from madkit.errors import ConfigError


class ParameterShard:
    """The part of a parameter that lies on this process: all of an ordinary one, a box of a DTensor.

    FSDP2 (``torch.distributed.fsdp.fully_shard``) and tensor parallelism keep parameters as DTensors.

    Args:
        name: of the parameter.
        parameter: a tensor, or a DTensor whose placements are ``Shard`` and ``Replicate``.

    Raises:
        ConfigError: its placement is another one.
    """

    def __init__(self, name: str, parameter: Tensor) -> None:
        self.shape = tuple(parameter.shape)
        self.groups: list[Any] = []
        start, size = [0] * len(self.shape), list(self.shape)
        placements = getattr(parameter, "placements", ())
        mesh: Any = getattr(parameter, "device_mesh", None)
        for i, placement in enumerate(placements):
            # A strided shard, of FSDP over tensor parallelism, is a subclass with another layout.
            if type(placement).__name__ not in ("Shard", "Replicate"):
                raise ConfigError(
                    f"parameter {name!r} is placed as {placement} over processes, and only Shard and Replicate are "
                    "understood; use FSDP2 (fully_shard) or tensor parallelism alone"
                )
            if type(placement).__name__ == "Shard":
                self.groups.append(mesh.get_group(i))
                dim, world, rank = placement.dim, mesh.size(i), mesh.get_local_rank(i)
                chunk = -(-size[dim] // world)  # as torch.chunk cuts
                first = min(chunk * rank, size[dim])
                start[dim], size[dim] = start[dim] + first, min(chunk, size[dim] - first)
        self.start, self.size = start, size
        self._parameter: Any = parameter
        if list(self.local.shape) != size:
            raise ConfigError(
                f"parameter {name!r} holds {list(self.local.shape)} here, not {size} as its placement says"
            )

    @property
    def local(self) -> Tensor:
        """The part itself, without gradients.

        It is asked for anew each time: the first forward pass of an FSDP2 model, in some versions of torch, puts other
        memory behind its parameters, and what is written to the old one would change nothing.
        """
        here = self._parameter
        local: Tensor = here.to_local() if getattr(here, "placements", ()) else here
        return local.detach()

    @property
    def sharded(self) -> bool:
        """Whether other processes hold parts of it."""
        return bool(self.groups)

    def global_index(self, first: int, last: int) -> Tensor:
        """The index, in the flattened parameter, of the ``first``-th to ``last``-th local element; int64."""
        local = torch.arange(first, last, device=self.local.device)
        if self.size[1:] == list(self.shape[1:]):  # complete rows lie one after another
            inner = 1
            for n in self.shape[1:]:
                inner *= n
            return local + (self.start[0] * inner if self.start else 0)
        index, stride = torch.zeros_like(local), 1
        for dim in reversed(range(len(self.shape))):
            index += (local % self.size[dim] + self.start[dim]) * stride
            local = local // self.size[dim]
            stride *= self.shape[dim]
        return index

    def total(self, sums: Tensor) -> Tensor:
        """Sums over the local part, added up over the processes that hold the others."""
        for group in self.groups:
            dist.all_reduce(sums, group=group)
        return sums

    def local_part(self, full: Tensor) -> Tensor:
        """The local part of an ordinary tensor of the parameter's shape."""
        for dim, (first, n) in enumerate(zip(self.start, self.size, strict=True)):
            full = full.narrow(dim, first, n)
        return full


def reshard(lm: nn.Module) -> None:
    """Let FSDP2 free the weights that it has gathered: a root keeps them, and would not see the shards change."""
    module: Any
    for module in lm.modules():
        if hasattr(module, "unshard") and hasattr(module, "reshard"):
            module.reshard()


def any_sharded(shards: Sequence[ParameterShard]) -> bool:
    """Whether a parameter is spread over processes, so that they all have to compute together."""
    return any(shard.sharded for shard in shards)
