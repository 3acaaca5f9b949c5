"""What a prompt costs: seconds of computing, measured where the stage runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypedDict

import torch


class Cost(TypedDict):
    """Of one feature, or of one score at one site."""

    seconds_per_prompt: float
    """The shorter of two runs, on one device, nothing else computed beside it."""
    prompts: int
    """How many were computed at once."""
    device: str
    """Such as ``cpu`` or the name of a GPU."""


def measured(compute: Callable[[], Any], prompts: int, device: torch.device) -> Cost:
    """Time a computation that has run before, so that nothing is loaded or compiled while the clock runs.

    Args:
        compute: what is to be timed; run twice.
        prompts: how many prompts it computes, at least 1.
        device: where it computes.

    Example:
        >>> cost = measured(lambda: sum(range(1000)), 10, torch.device("cpu"))
        >>> 0 < cost["seconds_per_prompt"] < 1, cost["prompts"], cost["device"]
        (True, 10, 'cpu')
    """
    seconds = []
    for _ in range(2):
        _wait(device)
        start = time.perf_counter()
        compute()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return {"seconds_per_prompt": min(seconds) / prompts, "prompts": prompts, "device": _name(device)}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
