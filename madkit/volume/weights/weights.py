"""The chosen weights of a model as one vector: measured along a direction, moved along it, and put back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.volume.lm.selection import added, canonical, chosen_parameters
from madkit.volume.weights.directions import Direction
from madkit.volume.weights.preconditioner import Blocks
from madkit.volume.weights.sharding import Shard, any_sharded, reshard

#: Elements of a direction that are made at a time.
CHUNK = 1 << 22


@dataclass
class Block:
    """One parameter of the vector."""

    name: str
    parameter: nn.Parameter
    shard: Shard
    adapters: list[Tensor]
    """What adapters add to it; part of the centre, though not of the tensor that is moved."""
    scales: Tensor | None
    """The local part of the preconditioner."""


class Ray(NamedTuple):
    """A direction as the weights see it; in all of them u = P g / (length * stretch)."""

    direction: Direction
    length: float
    """Norm of the normal vector g that the direction is made from."""
    stretch: float
    """Norm of P v, with v = g / length."""
    aligned: float
    """The component of the centre along u."""


class Weights:
    """The vector of a model's chosen weights.

    Where an adapter is active and not chosen, the centre is the weights with what it adds to them: to move the one
    is to move the sum.

    Directions are made from seeds, a chunk at a time, by parameter name and position. So a model's vector and its
    directions are the same whether its parameters lie whole on one process or in shards on many.

    Args:
        lm: the model, with or without an adapter.
        weights: which; see `madkit.volume.lm.selection.chosen_parameters`.
        preconditioner: scales of the directions; None for uniform ones.

    Raises:
        ConfigError: nothing is chosen, or the preconditioner has not these parameters.
    """

    def __init__(self, lm: nn.Module, weights: str | int = "all", preconditioner: Blocks | None = None) -> None:
        reshard(lm)
        parameters = chosen_parameters(lm, weights)
        lora = any("lora_" in name for name in parameters)
        extra: dict[int, list[Tensor]] = {}
        for weight, delta in [] if lora else added(lm):
            extra.setdefault(id(weight), []).append(delta)
        scales = _matching(preconditioner, parameters)
        self.blocks: list[Block] = []
        for name, parameter in parameters.items():
            shard = Shard(name, parameter)
            whole = scales.get(name)
            own = None if whole is None else shard.own(whole.to(shard.local.device))
            self.blocks.append(Block(name, parameter, shard, extra.get(id(parameter), []), own))
        self.dimension = sum(math.prod(block.shard.shape) for block in self.blocks)
        self.sharded = any_sharded([block.shard for block in self.blocks])
        self._originals: list[Tensor] | None = None
        self.norm = math.sqrt(float(sum(self._sums(i, None)[0] for i in range(len(self.blocks)))))

    @property
    def rms(self) -> float:
        """Root mean square of the weights."""
        return self.norm / math.sqrt(self.dimension)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.blocks[0].shard.local.device

    def ray(self, direction: Direction) -> Ray:
        """Measure a direction. Where parameters are sharded, their processes must call this together."""
        squares, stretched, aligned = sum(self._sums(i, direction) for i in range(len(self.blocks))).tolist()  # type: ignore[union-attr]
        length, stretch = math.sqrt(squares), math.sqrt(stretched / squares)
        return Ray(direction, length, stretch, aligned / math.sqrt(stretched))

    @contextmanager
    def borrowed(self) -> Iterator[Weights]:
        """A context in which the weights may be moved; afterwards they are what they were, to the last bit.

        Whatever is added to a half-precision weight cannot be taken off again, so a copy is kept: beside the weights
        where they leave room for it, else in the host's memory.
        """
        if self._originals is not None:
            raise ConfigError("these weights are borrowed already: leave that context first")
        home = self._home()
        self._originals = [b.shard.local.to(home, copy=True) for b in self.blocks]
        try:
            yield self
        finally:
            with torch.no_grad():
                for block, original in zip(self.blocks, self._originals, strict=True):
                    block.shard.local.copy_(original)
            self._originals = None

    @torch.no_grad()
    def move(self, ray: Ray, radius: float) -> None:
        """Set the weights to centre + radius u, each rounded once to its own number format.

        Raises:
            ConfigError: outside `borrowed`.
        """
        if self._originals is None:
            raise ConfigError("weights are moved inside `with weights.borrowed():` only, which puts them back")
        factor = radius / (ray.length * ray.stretch)
        for block, original in zip(self.blocks, self._originals, strict=True):
            local = block.shard.local
            # A transposed parameter has no flat view: it is filled by way of a contiguous one.
            target = local if local.is_contiguous() else torch.empty_like(local, memory_format=torch.contiguous_format)
            kept = original.reshape(-1)
            for first, last in _spans(local.numel()):
                step = self.part(block, ray.direction, first, last)
                start = kept[first:last].to(step.device)
                moved = start.to(torch.promote_types(start.dtype, step.dtype)) + factor * step
                target.view(-1)[first:last].copy_(moved)
            if target is not local:
                local.copy_(target)

    def step(self, block: Block, direction: Direction) -> Tensor:
        """P g of a block's local part, in its shape and number format."""
        local = block.shard.local
        whole = torch.empty(local.shape, dtype=local.dtype, device=local.device)
        for first, last in _spans(local.numel()):
            whole.view(-1)[first:last] = self.part(block, direction, first, last)
        return whole

    def part(self, block: Block, direction: Direction, first: int, last: int) -> Tensor:
        """Elements ``first`` to ``last`` of P g in a block's local part, float32."""
        g = direction.normals(block.name, block.shard.positions(first, last))
        return g if block.scales is None else g * block.scales.reshape(-1)[first:last].to(g)

    @torch.no_grad()
    def _sums(self, number: int, direction: Direction | None) -> Tensor:
        r"""\|theta\|^2 without a direction; with one \|g\|^2, \|P g\|^2 and (P g) . theta; float64."""
        block = self.blocks[number]
        # Of weights that have been moved, the centre is where they came from.
        theta = block.shard.local if self._originals is None else self._originals[number]
        device = block.shard.local.device
        theta = theta.to(device).double() if block.adapters else theta
        for delta in block.adapters:
            local = Shard(block.name, delta).local
            theta = theta + (local if local.shape == theta.shape else block.shard.own(local)).double()
        theta = theta.reshape(-1)
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for first, last in _spans(theta.numel()):
            x = theta[first:last].to(device).double()
            if direction is None:
                sums[0] += x @ x
                continue
            g = direction.normals(block.name, block.shard.positions(first, last)).double()
            sums[0] += g @ g
            if block.scales is not None:
                g = g * block.scales.reshape(-1)[first:last].to(g)
            sums[1] += g @ g
            sums[2] += g @ x
        return block.shard.total(sums).cpu()

    def _home(self) -> torch.device:
        """Where the copy of the weights goes."""
        device = self.device
        if device.type != "cuda":
            return device
        needed = sum(b.shard.local.numel() * b.shard.local.element_size() for b in self.blocks)
        free, _ = torch.cuda.mem_get_info(device)
        return device if needed < free / 2 else torch.device("cpu")


def _spans(count: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))


def _matching(preconditioner: Blocks | None, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The preconditioner's scales by canonical name."""
    if preconditioner is None:
        return {}
    scales = {canonical(name): x for name, x in preconditioner.scales.items()}
    if set(scales) != set(parameters) or any(scales[n].shape != p.shape for n, p in parameters.items()):
        raise ConfigError(
            f"preconditioner has {len(scales)} parameters and weights chooses {len(parameters)} "
            f"({len(set(scales) ^ set(parameters))} names differ, or a shape does): give scales for exactly these, "
            "so that its determinant is 1"
        )
    return scales
