"""The residual stream at the last prompt token, entering chosen layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.features.feature import Feature, Reading
from madkit.lm.hooks import Hookpoint, every_nth_layer, layer_names


class Activations(Feature):
    """The residual stream entering each site's layer (arXiv 2504.08812, section 3).

    Args:
        first: the first layer to read; what enters layer 0 is the embedding of the last token alone.
        step: read every ``step``-th layer from there [every third from 1 in the study].
        final: also read what leaves the last layer, as a site of its own that counts as one layer more.
        adapter: ``false`` reads the same prompts with the LoRA switched off and is called ``base_activations``: a
            control that tells what the base model already knew.
    """

    def __init__(self, first: int = 1, step: int = 3, final: bool = False, adapter: bool = True) -> None:
        if first < 0 or step < 1:
            raise ConfigError(f"Activations(first={first}, step={step}): first must be at least 0 and step at least 1")
        self.first = first
        self.step = step
        self.final = final
        self.adapter = adapter
        self.name = "activations" if adapter else "base_activations"

    def sites(self, lm: nn.Module) -> list[str]:
        """The layers' module names; the last layer's output is its name with ``.output``."""
        layers = every_nth_layer(lm, self.first, self.step, "Activations")
        return layers + ([f"{layer_names(lm)[-1]}.output"] if self.final else [])

    def layers(self, lm: nn.Module) -> list[int | None]:
        """Layer numbers; what leaves the last layer would enter the next one."""
        depth = len(layer_names(lm))
        return [*range(self.first, depth, self.step), *([depth] if self.final else [])]

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """What enters each layer."""
        inputs = [Hookpoint(name, "input") for name in self.sites(lm) if not name.endswith(".output")]
        return inputs + ([Hookpoint(layer_names(lm)[-1], "output")] if self.final else [])

    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """The vectors as they were read, in the model's own number format."""
        return {
            point.module if point.side == "input" else f"{point.module}.output": value
            for point, value in reading.values.items()
        }

    def options(self) -> dict[str, Any]:
        """Plain options."""
        return {
            "class": "Activations",
            "first": self.first,
            "step": self.step,
            "final": self.final,
            "adapter": self.adapter,
        }


def entering_layer(point: Hookpoint, names: list[str]) -> int | None:
    """The number of the decoder layer that a tensor enters; what leaves the last one would enter the next.

    Example:
        >>> entering_layer(Hookpoint("layers.1", "output"), ["layers.0", "layers.1"])
        2
    """
    return names.index(point.module) + (point.side == "output") if point.module in names else None
