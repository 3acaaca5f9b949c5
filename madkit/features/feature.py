"""What a feature is: a prompt becomes one vector per site."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from madkit.lm.hooks import Hookpoint
from madkit.streaming.accumulator import Accumulator

SPLITS = ("trusted", "untrusted", "calibration", "test")


@dataclass
class Reading:
    """What one forward pass left behind for a batch of B prompts."""

    lm: nn.Module
    """The model that was read."""
    values: dict[Hookpoint, Tensor]
    """Last-token vectors (B, d) at the feature's own hookpoints, in their order."""
    batch: dict[str, Any]
    """The batch itself."""
    logits: Tensor | None = None
    """Next-token logits (B, vocabulary), where the feature needs them."""
    gradients: dict[Hookpoint, Tensor] = field(default_factory=dict)
    """Gradients (B, d) of the log odds at the feature's hookpoints, where it needs them."""
    pullback: Callable[[Hookpoint, Tensor, Sequence[Hookpoint]], dict[Hookpoint, Tensor]] | None = None
    """Where the feature needs gradients: those (B, d) of ``direction . value`` at earlier hookpoints, for a hookpoint
    and a direction (d,). Each call is a backward pass from that hookpoint to the earliest of the others."""
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    """What the feature learned from trusted prompts."""
    shared: dict[Any, Any] = field(default_factory=dict)
    """What features of one pass have computed of it besides, for others that need the same."""


class Feature(ABC):
    """A feature reads what passes through an LM and gives one vector per site.

    A subclass says where it reads (``hookpoints``) and what it makes of it (``__call__``); the extractor runs as few
    forward passes as all features together need. Constructor arguments must be plain, because they identify the
    feature in the store.

    A feature that must know the trusted prompts before it can be computed says what to accumulate over them
    (``statistics``, ``observe``) and what follows from it (``learn``). The extractor does so once, over all
    processes, and keeps the outcome in the feature's store; each ``Reading`` then brings it along.

    Attributes:
        name: the feature's name in stores and results.
        adapter: whether it reads the quirky LM (``True``) or the same LM with its adapter switched off.
        needs_logits: whether the forward pass has to run to the end.
        needs_gradients: whether a backward pass has to follow it, from the log odds to the hookpoints.
        splits: the splits it is made for.
    """

    name: str
    adapter: bool = True
    needs_logits: bool = False
    needs_gradients: bool = False
    splits: tuple[str, ...] = SPLITS

    def prepare(self, lm: nn.Module, base: str, folder: Path) -> None:  # noqa: B027 - most have nothing to load
        """Load what the feature needs besides the LM, before it is asked for anything else.

        Args:
            lm: a skeleton of the base model, without weights.
            base: the fingerprint of its weights.
            folder: the run folder.
        """

    @abstractmethod
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """Where to read; ``lm`` may be a skeleton without weights."""

    @abstractmethod
    def sites(self, lm: nn.Module) -> list[str]:
        """Names of the vectors this feature gives, in order."""

    def layers(self, lm: nn.Module) -> list[int | None]:
        """The layer that each site belongs to, counted from 0, where it belongs to one."""
        return [layer_of(site) for site in self.sites(lm)]

    def widths(self, lm: nn.Module) -> dict[str, int]:
        """The length of the vectors of each sparse site; a site that is not here is dense."""
        return {}

    @abstractmethod
    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """The vectors (B, d) of a batch by site; of a sparse site, ``<site>.indices`` and ``<site>.values`` (B, k)."""

    def statistics(self, lm: nn.Module) -> dict[str, Accumulator]:
        """Empty statistics of trusted prompts by name, or none where the feature has nothing to learn."""
        return {}

    def observe(self, reading: Reading) -> dict[str, Tensor]:
        """The rows (B, d) of a trusted batch that each statistic is to be given; no logits, no gradients."""
        return {}

    def learn(self, statistics: Mapping[str, Any]) -> dict[str, Tensor]:
        """What follows from the results of the statistics, as the tensors that a ``Reading`` will bring along."""
        return {}

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Everything that decides the values, as plain data."""


def layer_of(site: str) -> int | None:
    """The layer number in a module's name, if it has one.

    Example:
        >>> layer_of("model.layers.12"), layer_of("logits")
        (12, None)
    """
    found = re.search(r"\.(\d+)(?:\.|$)", site)
    return int(found.group(1)) if found else None
