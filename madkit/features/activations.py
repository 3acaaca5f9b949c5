"""The residual stream at the last prompt token, entering chosen layers."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from madkit.features.layerwise_feature import LayerwiseFeature
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names


class Activations(LayerwiseFeature):
    """The residual stream entering each site's layer (arXiv 2504.08812, section 3).

    Args:
        first: the first layer to read; what enters layer 0 is the embedding of the last token alone.
        step: read every ``step``-th layer from there [every third from 1 in the study].
        final: also read what leaves the last layer, as one more site, ``<last layer>.output``, that counts as one
            layer more.
    """

    def __init__(self, first: int = 1, step: int = 3, final: bool = False) -> None:
        super().__init__(first, step)
        self.final = final

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return self.module_names(lm) + ([f"{layer_names(lm)[-1]}.output"] if self.final else [])

    @override
    def layers(self, lm: nn.Module) -> list[int | None]:
        # What leaves the last layer would enter the next one.
        depth = len(layer_names(lm))
        return [*range(self.first, depth, self.step), *([depth] if self.final else [])]

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        inputs = [Hookpoint(name, "input") for name in self.module_names(lm)]
        return inputs + ([Hookpoint(layer_names(lm)[-1], "output")] if self.final else [])

    @override
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        # In the model's number format.
        return {
            hookpoint.module if hookpoint.side == "input" else f"{hookpoint.module}.output": x
            for hookpoint, x in trace.activations.items()
        }


def entering_layer(hookpoint: Hookpoint, names: list[str]) -> int | None:
    """The number of the decoder layer that a tensor enters; what leaves the last one would enter the next.

    Example:
        >>> entering_layer(Hookpoint("layers.1", "output"), ["layers.0", "layers.1"])
        2
    """
    if hookpoint.module not in names:
        return None
    return names.index(hookpoint.module) + (hookpoint.side == "output")
