"""SaeLensFolder: sparse autoencoders in the format of SAELens."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from madkit.encoders.sae.formats.sae_folder import SaeFolder
from madkit.encoders.sae.latent_activations import Gated, Rectified, TopK
from madkit.encoders.sae.latent_encoder import LatentEncoder

#: The mean length that activations were scaled to, where a training has not yet folded it into the weights.
_SCALER = "activation_scaler.json"
_REFUSED = {
    "transcoder": "a transcoder reads another tensor than it writes",
    "crosscoder": "a crosscoder reads several tensors",
    "temporal": "it reads earlier tokens, too",
}


class SaeLensFolder(SaeFolder):
    """``cfg.json`` and ``sae_weights.safetensors``: standard, gated, JumpReLU and top-k, of version 6 and before.

    Source: `SAE.process_sae_in` and the `encode` of each architecture, SAELens 6.12; its defaults for older settings.
    """

    format = "SAELens"
    settings = "cfg.json"
    weights = "sae_weights.safetensors"

    def _said(self, *names: str, default: Any = None) -> Any:
        """A setting under any of its names; version 6 has those of the model in a part of their own."""
        told = self.config | (self.config.get("metadata") or {})
        return next((told[name] for name in names if told.get(name) is not None), default)

    @property
    @override
    def hook(self) -> str | None:
        name: str | None = self._said("hook_name", "hook_point")
        return name

    @property
    @override
    def model(self) -> str | None:
        name: str | None = self._said("model_name")
        return name

    @property
    @override
    def files(self) -> list[Path]:
        scaler = self.folder / _SCALER
        return [*super().files, *([scaler] if scaler.is_file() else [])]

    @override
    def encoder(self, lm: nn.Module) -> LatentEncoder:
        kind = self._architecture()
        weight = self.tensors.read("W_enc").T
        latents, width = weight.shape
        self.require_width(self.config.get("d_in"), width)
        one_each = partial(self.tensors.read, shape=(latents,))
        gain = None
        activation: nn.Module
        if kind == "gated":
            activation = Gated(one_each("b_gate"), one_each("r_mag"), one_each("b_mag"))
        elif kind == "jumprelu":
            activation = Rectified(one_each("threshold"))
        elif kind == "topk":
            activation = TopK(self.checked_k(self._k(), latents))
            if self.config.get("rescale_acts_by_decoder_norm"):
                gain = self.tensors.norms("W_dec", dim=1)
        else:
            activation = Rectified()
        subtracted = self._said("apply_b_dec_to_input", default=True)
        return LatentEncoder(
            weight, None if kind == "gated" else one_each("b_enc"), activation,
            offset=self.tensors.read("b_dec", (width,)) if subtracted else None, gain=gain,
            normalise=self._normalise(lm, width),
        )  # fmt: skip

    def _architecture(self) -> str:
        kind = str(self._said("architecture", default="standard"))
        for part, what in _REFUSED.items():
            if part in kind:
                raise self.refused(f"architecture={kind!r}: {what}", "give an SAE")
        if self._said("hook_head_index") is not None:
            raise self.refused(f"hook_head_index={self._said('hook_head_index')}: it reads one attention head alone")
        arguments = self._said("activation_fn_kwargs", default={})
        if arguments.get("signed"):
            raise self.refused("signed: true lets latents be negative, which no score expects")
        function = self._said("activation_fn", "activation_fn_str", default="relu")
        if function == "topk" and kind in ("standard", "topk"):
            return "topk"
        if kind not in ("standard", "gated", "jumprelu", "topk") or function != "relu":
            raise self.refused(f"architecture={kind!r} with activation_fn={function!r} is not read")
        return kind

    def _k(self) -> Any:
        return self._said("activation_fn_kwargs", default={}).get("k", self._said("k"))

    def _normalise(self, lm: nn.Module, width: int) -> Callable[[Tensor], Tensor] | None:
        kind = self._said("normalize_activations", default="none")
        kind = {True: "expected_average_only_in", False: "none"}.get(kind, kind)
        steps: list[Callable[[Tensor], Tensor]] = []
        if self._centred(lm):
            steps.append(centred)
        if kind == "expected_average_only_in":
            steps.append(partial(scaled, factor=self._factor()))
        elif kind == "constant_norm_rescale":
            steps.append(partial(of_one_length, length=width**0.5))
        elif kind == "layer_norm":
            steps.append(standardised)
        elif kind != "none":
            raise self.refused(f"normalize_activations={kind!r} is not read")
        return partial(in_turn, steps=steps) if steps else None

    def _centred(self, lm: nn.Module) -> bool:
        """Whether it was trained on a model whose writes were centred, which does nothing where norms do not centre."""
        changes = self._said("model_from_pretrained_kwargs", default={})
        return bool(changes.get("center_writing_weights")) and any(isinstance(m, nn.LayerNorm) for m in lm.modules())

    def _factor(self) -> float:
        try:
            return float(json.loads((self.folder / _SCALER).read_text())["scaling_factor"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self.refused(
                "normalize_activations='expected_average_only_in' multiplies by a factor that these files do not hold",
                "save it again after `fold_activation_norm_scaling_factor` of SAELens",
            ) from error


def in_turn(x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
    """One step after the other."""
    for step in steps:
        x = step(x)
    return x


def centred(x: Tensor) -> Tensor:
    """Vectors (n, d) without their mean over coordinates, as a model writes whose weights were centred."""
    return x - x.mean(-1, keepdim=True)


def scaled(x: Tensor, factor: float) -> Tensor:
    """Vectors (n, d) times a number."""
    return x * factor


def of_one_length(x: Tensor, length: float) -> Tensor:
    """Vectors (n, d) of this length."""
    return x * (length / x.norm(dim=-1, keepdim=True))


def standardised(x: Tensor) -> Tensor:
    """Vectors (n, d) of mean 0 and standard deviation 1 (n - 1) over coordinates."""
    x = centred(x)
    return x / (x.std(dim=-1, keepdim=True) + 1e-5)
