"""What one forward pass of a batch leaves behind for the features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from madkit.lm.hooks import Hookpoint


@dataclass
class Trace:
    """What one forward pass of a batch of B prompts left behind for one feature."""

    lm: nn.Module
    """The model."""
    activations: dict[Hookpoint, Tensor]
    """Last-token vectors (B, d) at the feature's hookpoints, in their order."""
    batch: dict[str, Any]
    """The batch."""
    logits: Tensor | None = None
    """Next-token logits (B, vocabulary), where the feature needs them."""
    gradients: dict[Hookpoint, Tensor] = field(default_factory=dict)
    """Gradients (B, d) of the log odds at the feature's hookpoints, where it needs them."""
    pullback: Callable[[Hookpoint, Tensor, Sequence[Hookpoint]], dict[Hookpoint, Tensor]] | None = None
    """Where the feature needs gradients: those (B, d) of ``direction . activation`` at earlier hookpoints, for a
    hookpoint and a direction (d,). Each call is a backward pass from that hookpoint to the earliest of the others."""
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    """What the feature learned from trusted prompts."""
    shared: dict[Any, Any] = field(default_factory=dict)
    """What features have computed of this pass, for other features that need the same."""
