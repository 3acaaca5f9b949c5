"""Which part of a parameter this process holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from madkit.errors import ConfigError


class Shard:
    """The part of a parameter that lies on this process: all of an ordinary one, a box of a DTensor.

    FSDP2 (``torch.distributed.fsdp.fully_shard``) and tensor parallelism keep parameters as DTensors.

    Args:
        name: of the parameter.
        parameter: a tensor, or a DTensor whose placements are ``Shard`` and ``Replicate``.

    Raises:
        ConfigError: it is placed in another way.
    """

    def __init__(self, name: str, parameter: Tensor) -> None:
        self.shape = tuple(parameter.shape)
        self.groups: list[Any] = []
        start, size = [0] * len(self.shape), list(self.shape)
        placements = getattr(parameter, "placements", ())
        mesh: Any = getattr(parameter, "device_mesh", None)
        for i, placement in enumerate(placements):
            # A strided shard, of FSDP over tensor parallelism, is a subclass and laid out otherwise.
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
        local: Tensor = parameter.to_local() if placements else parameter  # type: ignore[attr-defined]
        self.local = local.detach()
        if list(self.local.shape) != size:
            raise ConfigError(
                f"parameter {name!r} holds {list(self.local.shape)} here, not {size} as its placement says"
            )

    @property
    def sharded(self) -> bool:
        """Whether other processes hold parts of it."""
        return bool(self.groups)

    def positions(self, first: int, last: int) -> Tensor:
        """Where the ``first``-th to ``last``-th local element lies in the whole parameter, flattened, int64."""
        local = torch.arange(first, last, device=self.local.device)
        if self.size[1:] == list(self.shape[1:]):  # whole rows lie one after another
            inner = 1
            for n in self.shape[1:]:
                inner *= n
            return local + (self.start[0] * inner if self.start else 0)
        whole, stride = torch.zeros_like(local), 1
        for dim in reversed(range(len(self.shape))):
            whole += (local % self.size[dim] + self.start[dim]) * stride
            local = local // self.size[dim]
            stride *= self.shape[dim]
        return whole

    def total(self, sums: Tensor) -> Tensor:
        """Sums over the local part, added up over the processes that hold the others."""
        for group in self.groups:
            dist.all_reduce(sums, group=group)
        return sums

    def own(self, whole: Tensor) -> Tensor:
        """The local part of an ordinary tensor of the parameter's shape."""
        for dim, (first, n) in enumerate(zip(self.start, self.size, strict=True)):
            whole = whole.narrow(dim, first, n)
        return whole


def reshard(lm: nn.Module) -> None:
    """Let FSDP2 free the weights that it has gathered: a root keeps them, and would not see the shards change."""
    for module in lm.modules():
        if hasattr(module, "unshard") and hasattr(module, "reshard"):
            module.reshard()  # type: ignore[operator]


def any_sharded(shards: Sequence[Shard]) -> bool:
    """Whether a parameter is spread over processes, so that they all have to compute together."""
    return any(shard.sharded for shard in shards)
