"""GemmaScopeFolder and GemmaScope2Folder: the sparse autoencoders of Gemma Scope."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from typing_extensions import override

from madkit.encoders.sae.formats.sae_folder import SaeFolder
from madkit.encoders.sae.latent_activations import Rectified
from madkit.encoders.sae.latent_encoder import LatentEncoder

_HOOKS = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}


class GemmaScopeFolder(SaeFolder):
    """``params.npz``; which tensor it reads is said by the names of the folders above it alone.

    Such as ``gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71``. Its activation is JumpReLU (Lieberum et al.,
    arXiv 2408.05147, sections 2.2 and 3.1: b_dec is not subtracted from what it reads).
    """

    format = "Gemma Scope"
    settings = ""
    weights = "params.npz"

    def _repository(self) -> re.Match[str] | None:
        """Size, kind of model and kind of tensor, from the name of the repository in the path."""
        names = reversed(self.folder.resolve().parts)
        found = (re.search(r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att)\b", name) for name in names)
        return next(filter(None, found), None)

    @property
    @override
    def hook(self) -> str | None:
        layer = re.search(r"\blayer_(\d+)\b", self.folder.resolve().as_posix())
        repository = self._repository()
        if layer is None or repository is None or "embedding" in self.folder.resolve().parts:
            return None
        return f"blocks.{layer[1]}.{_HOOKS[repository[3]]}"

    @property
    @override
    def model(self) -> str | None:
        repository = self._repository()
        if repository is None:
            return None
        return f"google/gemma-2-{repository[1]}" + ("-it" if repository[2] == "it" else "")

    @override
    def encoder(self, lm: nn.Module) -> LatentEncoder:
        names = {name.lower(): name for name in self.tensors.names}
        weight = self.tensors.read(names.get("w_enc", "W_enc")).T
        latents = (len(weight),)
        threshold = self.tensors.read("threshold", latents)
        return LatentEncoder(weight, self.tensors.read("b_enc", latents), Rectified(threshold))


class GemmaScope2Folder(GemmaScopeFolder):
    """``config.json`` and ``params.safetensors``, of Gemma 3; the settings say what it reads and of which model."""

    format = "Gemma Scope 2"
    settings = "config.json"
    weights = "params.safetensors"

    @property
    @override
    def hook(self) -> str | None:
        return self.config.get("hf_hook_point_in")

    @property
    @override
    def model(self) -> str | None:
        return self.config.get("model_name")

    @override
    def encoder(self, lm: nn.Module) -> LatentEncoder:
        told = self.config
        kind, read = told.get("type", "sae"), told.get("hf_hook_point_in")
        written: Any = told.get("hf_hook_point_out") or read
        if kind != "sae" or written != read or told.get("affine_connection"):
            raise self.refused(f"type={kind!r} writes {written!r}, and not only what it reads", "give an SAE")
        if told.get("architecture", "jump_relu") != "jump_relu":
            raise self.refused(f"architecture={told['architecture']!r} is not read")
        return super().encoder(lm)
