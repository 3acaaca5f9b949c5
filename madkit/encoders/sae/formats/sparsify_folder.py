"""SparsifyFolder: sparse autoencoders of the library sparsify, and madkit's own."""

from __future__ import annotations

import json

from torch import nn
from typing_extensions import override

from madkit.encoders.sae.formats.sae_folder import SaeFolder
from madkit.encoders.sae.latent_activations import GroupMax, TopK
from madkit.encoders.sae.latent_encoder import LatentEncoder


class SparsifyFolder(SaeFolder):
    """``cfg.json`` and ``sae.safetensors``; the folder is named after the module whose output it reads.

    Source: `SparseCoder.encode` of sparsify 1.3 (the package ``eai-sparsify``).
    """

    format = "sparsify"
    settings = "cfg.json"
    weights = "sae.safetensors"

    @property
    @override
    def hook(self) -> str:
        return self.folder.name

    @property
    @override
    def hook_is_a_guess(self) -> bool:
        return True

    @property
    @override
    def is_own(self) -> bool:
        return (self.folder / "config.json").exists()

    @property
    @override
    def model(self) -> str | None:
        try:  # of the run that has trained all of them
            return str(json.loads((self.folder.parent / "config.json").read_text())["model"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @override
    def encoder(self, lm: nn.Module) -> LatentEncoder:
        if self.config.get("transcode"):
            raise self.refused("a transcoder reads another tensor than it writes", "give an SAE")
        if self.config.get("signed"):
            raise self.refused("signed: true lets latents be negative, which no score expects")
        weight = self.tensors.read("encoder.weight")
        latents, width = weight.shape
        self.require_width(self.config.get("d_in"), width)
        k = self.checked_k(self.config.get("k"), latents)
        kind = self.config.get("activation", "topk")
        if kind not in ("topk", "groupmax") or (kind == "groupmax" and latents % k):
            raise self.refused(f"activation={kind!r} with k={k} of {latents} latents is neither topk nor groupmax")
        return LatentEncoder(
            weight, self.tensors.read("encoder.bias", (latents,)), TopK(k) if kind == "topk" else GroupMax(k),
            offset=self.tensors.read("b_dec", (width,)),
        )  # fmt: skip
