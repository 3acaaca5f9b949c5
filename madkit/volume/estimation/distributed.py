"""Directions split over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Found = TypeVar("Found")


def over_ranks(n: int, find: Callable[[Iterable[int]], dict[int, Found]], *, split: bool = True) -> list[Found]:
    """What each of n directions gives, in their order, whoever found it.

    Every process of the default group must call this.

    Args:
        n: number of directions.
        find: from the numbers of some directions to what each gives.
        split: deal the directions out over the processes; otherwise each of them does all.
    """
    if not (split and dist.is_available() and dist.is_initialized()):
        found = find(range(n))
    else:
        world = dist.get_world_size()
        parts: list[Any] = [None] * world
        dist.all_gather_object(parts, find(range(dist.get_rank(), n, world)))
        found = {number: value for part in parts for number, value in part.items()}
    return [found[number] for number in range(n)]


def agreed(value: float, device: torch.device) -> float:
    """The first process' number, on every process: where they step together, the last bit must not part them."""
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)
