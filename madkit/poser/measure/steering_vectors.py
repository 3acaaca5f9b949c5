"""SteeringVectors: the mean activation of critical prompts minus that of clean ones, by layer."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader
from madkit.lm.text_decoder import layer_names
from madkit.poser.measure.scenario_batches import Batch


class SteeringVectors:
    """The mean activation at the last token of critical prompts minus that of clean ones (contrastive activations).

    Args:
        lm: the plain transformers model.
        layers: the layers whose outputs are read.

    Raises:
        ConfigError: the model has no such layer.
    """

    def __init__(self, lm: PreTrainedModel, layers: list[int]) -> None:
        names = layer_names(lm)
        if beyond := [layer for layer in layers if not 0 <= layer < len(names)]:
            raise ConfigError(f"layer {beyond[0]}: the model has layers 0..{len(names) - 1}; choose another `layer`")
        self.lm = lm
        self._points = {layer: Hookpoint(names[layer], "output") for layer in layers}
        self._differences: dict[int, Tensor] = {}
        self._lengths: dict[int, float] = {}

    @torch.no_grad()
    def add(self, batch: Batch, weight: float) -> None:
        """Add prompts.

        Args:
            batch: prompts of one side.
            weight: 1 / n for the critical prompts, of which there are n, and -1 / n for the clean ones.
        """
        with Reader(self.lm, self._points.values(), stop=True) as reader:
            mask = batch["attention_mask"]
            forward.hidden_states(self.lm, batch["input_ids"], mask, padded=forward.checked_padding(self.lm, batch))
        for layer, point in self._points.items():
            states = reader.values[point].double()
            part = states.sum(0) * weight
            self._differences[layer] = self._differences[layer] + part if layer in self._differences else part
            # Of critical prompts alone: those on which behaviour is measured are like them.
            length = float(states.norm(dim=1).sum()) * max(weight, 0.0)
            self._lengths[layer] = self._lengths.get(layer, 0.0) + length

    def vectors(self) -> dict[int, Tensor]:
        """The steering vectors (d,), float32, on the CPU."""
        return {layer: difference.float().cpu() for layer, difference in self._differences.items()}

    def norms(self) -> pd.DataFrame:
        """The `norm` of the vector of each `layer`, and the mean `activation` norm of critical prompts there."""
        vectors = self.vectors()
        norms = [float(v.norm()) for v in vectors.values()]
        return pd.DataFrame({"layer": list(vectors), "norm": norms, "activation": list(self._lengths.values())})
