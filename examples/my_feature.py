r"""A feature of one's own: what each layer adds to the residual stream at the last prompt token.

    madkit predict --config recipes/predict.yaml --config examples/my_feature.yaml \
        --with examples/my_feature.py --run runs/tiny-llama

A feature says where it reads (`hookpoints`), what its vectors are called (`sites`), and how they are computed
(`__call__`). madkit runs the forward pass, shares it between features, and writes the store; a detector then names the
feature `layer_update`. The vectors are computed again when an option or this file changes.
"""

from torch import Tensor, nn

from madkit.features import Feature, Trace
from madkit.lm.hooks import Hookpoint, every_nth_layer


class LayerUpdate(Feature):
    """What leaves a layer minus what enters it, (B, d) for each layer.

    Args:
        first: the first layer to read.
        step: read every ``step``-th layer from there.
    """

    def __init__(self, first: int = 1, step: int = 1) -> None:
        self.first = first
        self.step = step

    def sites(self, lm: nn.Module) -> list[str]:
        """The layers' module names."""
        return every_nth_layer(lm, self.first, self.step, "LayerUpdate")

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """What enters and what leaves each layer."""
        return [Hookpoint(layer, side) for layer in self.sites(lm) for side in ("input", "output")]

    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """The difference, in the model's number format."""
        x = trace.activations
        return {site: x[Hookpoint(site, "output")] - x[Hookpoint(site, "input")] for site in self.sites(trace.lm)}
