"""Directions split over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

PerDirection = TypeVar("PerDirection")


def over_ranks(
    n: int, follow: Callable[[Iterable[int]], dict[int, PerDirection]], *, split: bool = True
) -> list[PerDirection]:
    """Follow n directions and return their results in order, on every process.

    Every process of the default group must call this.

    Args:
        n: number of directions.
        follow: from the numbers of some directions to the result of each.
        split: share the directions between the processes; otherwise each of them follows all.
    """
    if not (split and dist.is_available() and dist.is_initialized()):
        results = follow(range(n))
    else:
        world = dist.get_world_size()
        parts: list[Any] = [None] * world
        dist.all_gather_object(parts, follow(range(dist.get_rank(), n, world)))
        results = {number: value for part in parts for number, value in part.items()}
    return [results[number] for number in range(n)]


def from_first_rank(value: float, device: torch.device) -> float:
    """The first process' number, on every process.

    Processes that search together must take the same steps, whatever the last bit of their numbers is.
    """
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)
