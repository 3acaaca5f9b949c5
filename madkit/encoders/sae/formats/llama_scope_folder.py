"""LlamaScopeFolder: the sparse autoencoders of Llama Scope."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from madkit.encoders.sae.formats.sae_folder import SaeFolder
from madkit.encoders.sae.latent_activations import Rectified, TopK
from madkit.encoders.sae.latent_encoder import LatentEncoder


class LlamaScopeFolder(SaeFolder):
    """``hyperparams.json`` and ``checkpoints/final.safetensors`` (He et al., arXiv 2410.20526, section 3).

    It was trained on activations times s = sqrt(d) / (their mean length), and with latents measured by the length n of
    their decoder columns. As it is published for use, both are folded into the encoder, so that latents have the scale
    of the model's activations: n (W x + b / s), where that is above a threshold of the same scale.

    Source: `SparseAutoEncoder.from_config` and `encode` of OpenMOSS's Language-Model-SAEs, November 2024.
    """

    format = "Llama Scope"
    settings = "hyperparams.json"
    weights = "checkpoints/final.safetensors"

    @property
    @override
    def hook(self) -> str | None:
        return self.config.get("hook_point_in")

    @property
    @override
    def model(self) -> str | None:
        try:
            return str(json.loads((self.folder / "lm_config.json").read_text())["model_name"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @override
    def encoder(self, lm: nn.Module) -> LatentEncoder:
        told = self.config
        if told.get("hook_point_out", told.get("hook_point_in")) != told.get("hook_point_in"):
            raise self.refused(f"a transcoder that writes {told['hook_point_out']!r}", "give an SAE")
        if told.get("use_glu_encoder"):
            raise self.refused("its encoder has a second gate (use_glu_encoder)")
        weight = self.tensors.read("encoder.weight")
        latents, width = weight.shape
        self.require_width(told.get("d_model"), width)
        bias = self.tensors.read("encoder.bias", (latents,)) / self._factor(width)
        normed = bool(told.get("sparsity_include_decoder_norm", True))
        return LatentEncoder(
            weight, bias.to(weight.dtype), self._activation(latents),
            offset=self._offset(width), gain=self.tensors.norms("decoder.weight", dim=0) if normed else None,
        )  # fmt: skip

    def _factor(self, width: int) -> float:
        kind = self.config.get("norm_activation")
        if kind in ("inference", None):
            return 1.0
        length: Any = (self.config.get("dataset_average_activation_norm") or {}).get("in")
        if kind != "dataset-wise" or not isinstance(length, int | float) or not length > 0:
            raise self.refused(f"norm_activation={kind!r} with mean length {length!r} is not read")
        return float(width**0.5 / length)

    def _activation(self, latents: int) -> nn.Module:
        kind, threshold = self.config.get("act_fn"), float(self.config.get("jump_relu_threshold") or 0)
        if kind == "relu":
            return Rectified()
        if kind == "jumprelu" or (kind == "topk" and threshold > 0):  # top-k was for training alone
            return Rectified(torch.tensor([threshold]))
        if kind == "topk":
            return TopK(self.checked_k(self.config.get("top_k"), latents))
        raise self.refused(f"act_fn={kind!r} is not read")

    def _offset(self, width: int) -> torch.Tensor | None:
        if not (self.config.get("use_decoder_bias") and self.config.get("apply_decoder_bias_to_pre_encoder")):
            return None
        return self.tensors.read("decoder.bias", (width,)) / self._factor(width)
