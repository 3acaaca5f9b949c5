"""The chosen weights of a model as one vector: measured along a direction, moved along it, and restored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.volume.weight_space.direction import Direction
from madkit.volume.weight_space.parameter_block import ParameterBlock, spans
from madkit.volume.weight_space.parameter_selection import adapter_deltas, canonical, chosen_parameters
from madkit.volume.weight_space.parameter_shard import ParameterShard, any_sharded, reshard
from madkit.volume.weight_space.preconditioners import Blocks


class Ray(NamedTuple):
    """A direction as the weights see it; in all of them u = P g / (length * stretch)."""

    direction: Direction
    length: float
    """Norm of the normal vector g of the direction."""
    stretch: float
    """Norm of P v, with v = g / length."""
    aligned: float
    """The component of the centre along u."""


class Weights:
    """The vector of a model's chosen weights.

    Where an adapter is active and not chosen, the centre is the weights with what it adds to them: to move the one
    is to move the sum.

    Directions are generated from seeds, a chunk at a time, by parameter name and index. So a model's vector and its
    directions are the same whether its parameters lie complete on one process or in shards on many.

    Args:
        lm: the model, with or without an adapter.
        weights: which; see `madkit.volume.weight_space.parameter_selection.chosen_parameters`.
        preconditioner: scales of the directions; None for uniform ones.

    Raises:
        ConfigError: nothing is chosen, or the preconditioner has not these parameters.
    """

    def __init__(self, lm: nn.Module, weights: str | int = "all", preconditioner: Blocks | None = None) -> None:
        reshard(lm)
        parameters = chosen_parameters(lm, weights)
        lora = any("lora_" in name for name in parameters)
        deltas: dict[int, list[Tensor]] = {}
        for weight, delta in [] if lora else adapter_deltas(lm):
            deltas.setdefault(id(weight), []).append(delta)
        scales = _matching(preconditioner, parameters)
        self.blocks: list[ParameterBlock] = []
        for name, parameter in parameters.items():
            shard = ParameterShard(name, parameter)
            full = scales.get(name)
            local = None if full is None else shard.local_part(full.to(shard.local.device))
            self.blocks.append(ParameterBlock(name, parameter, shard, deltas.get(id(parameter), []), local))
        self.dimension = sum(math.prod(block.shard.shape) for block in self.blocks)
        self.sharded = any_sharded([block.shard for block in self.blocks])
        self._originals: list[Tensor] | None = None
        self.norm = math.sqrt(float(self._sums(None)[0]))

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
        squares, stretched, aligned = self._sums(direction).tolist()
        length, stretch = math.sqrt(squares), math.sqrt(stretched / squares)
        return Ray(direction, length, stretch, aligned / math.sqrt(stretched))

    @contextmanager
    def borrowed(self) -> Iterator[Weights]:
        """A context in which the weights may be moved; afterwards they are what they were, to the last bit.

        What is added to a half-precision weight cannot be subtracted again, so a copy is kept: beside the weights
        where there is memory for it, else on the host.
        """
        if self._originals is not None:
            raise ConfigError("these weights are borrowed already: leave that context first")
        device = self._copy_device()
        self._originals = [b.shard.local.to(device, copy=True) for b in self.blocks]
        try:
            yield self
        finally:
            with torch.no_grad():
                for block, original in zip(self.blocks, self._originals, strict=True):
                    block.shard.local.copy_(original)
            self._originals = None

    @torch.no_grad()
    def move(self, ray: Ray, radius: float) -> None:
        """Set the weights to centre + radius u, each rounded once to its number format.

        Raises:
            ConfigError: outside `borrowed`.
        """
        if self._originals is None:
            raise ConfigError("weights are moved inside `with weights.borrowed():` only, which restores them")
        factor = radius / (ray.length * ray.stretch)
        for block, original in zip(self.blocks, self._originals, strict=True):
            local = block.shard.local
            # A transposed parameter has no flat view: it is filled by way of a contiguous one.
            target = local if local.is_contiguous() else torch.empty_like(local, memory_format=torch.contiguous_format)
            kept = original.reshape(-1)
            for first, last in spans(local.numel()):
                step = block.elements(ray.direction, first, last)
                start = kept[first:last].to(step.device)
                moved = start.to(torch.promote_types(start.dtype, step.dtype)) + factor * step
                target.view(-1)[first:last].copy_(moved)
            if target is not local:
                local.copy_(target)

    def _sums(self, direction: Direction | None) -> Tensor:
        """The sums of all blocks, at the centre; see `ParameterBlock.sums`."""
        originals: Sequence[Tensor | None] = self._originals or [None] * len(self.blocks)
        total = torch.zeros(3, dtype=torch.float64)
        for block, original in zip(self.blocks, originals, strict=True):
            total = total + block.sums(direction, original)
        return total

    def _copy_device(self) -> torch.device:
        """Where the copy of the weights is kept."""
        device = self.device
        if device.type != "cuda":
            return device
        needed = sum(b.shard.local.numel() * b.shard.local.element_size() for b in self.blocks)
        free, _ = torch.cuda.mem_get_info(device)
        return device if needed < free / 2 else torch.device("cpu")


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
