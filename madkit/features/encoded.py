"""What a flow or a sparse autoencoder makes of an LM's tensors at the last prompt token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.encoders.sae.base_name import is_another_model
from madkit.encoders.sae.formats import SaeFolder, is_sae, open_sae
from madkit.encoders.sae.hook_names import hookpoint_named
from madkit.errors import ConfigError
from madkit.features.encoder_feature import EncoderFeature


class Flow(EncoderFeature):
    """z = f(activation) (B, d), coordinates that are independent Laplace(0, 1) on what the flow was trained on.

    Args:
        encoder: folder of flows; null for the run's, ``<run>/flow/encoder``.
        subfolders: which of them to use; null for all.
    """

    @override
    def load(self, folder: Path, lm: nn.Module) -> nn.Module:
        return LaplaceFlow.load(folder)

    @override
    def describe(self, name: str, folder: Path, lm: nn.Module, encoder: Any) -> EncoderSite:
        return EncoderSite.load(folder)

    @override
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        return {site: encoder(x)}


class SAE(EncoderFeature):
    """The latents of a sparse autoencoder, of which each prompt uses few; they stay sparse.

    Args:
        encoder: folder of SAEs in the format of sparsify, SAELens, Llama Scope or Gemma Scope, or one such SAE, or a
            hub name such as ``EleutherAI/sae-llama-3-8b-32x``; null for the run's, ``<run>/sae/encoder``.
        subfolders: which of them to use, such as ``layers.23`` or ``layer_20/width_16k/average_l0_71``; null for all.
        hooks: the tensor that an SAE reads, by its subfolder, where its files do not say: a module, whose output is
            meant, or a hook of TransformerLens such as ``blocks.20.hook_resid_post``.
    """

    fetched = ("*.safetensors", "*.json", "*.npz")

    def __init__(
        self,
        encoder: str | None = None,
        subfolders: list[str] | None = None,
        hooks: dict[str, str] | None = None,
    ) -> None:
        super().__init__(encoder, subfolders)
        self.hooks = hooks

    @override
    def is_encoder(self, folder: Path) -> bool:
        return is_sae(folder)

    @override
    def files(self, folder: Path) -> list[Path]:
        own = folder / "config.json"
        files = open_sae(folder).files
        return sorted({*files, own}) if own.is_file() else sorted(files)

    @override
    def load(self, folder: Path, lm: nn.Module) -> nn.Module:
        return open_sae(folder).encoder(lm).eval()

    @override
    def describe(self, name: str, folder: Path, lm: nn.Module, encoder: Any) -> EncoderSite:
        """What madkit's ``config.json`` says; of a published SAE, what its own files do."""
        sae = open_sae(folder)
        if sae.is_own:
            return EncoderSite.load(folder)
        said, named = sae.hook, (self.hooks or {}).get(name)
        if said is None and named is None:
            raise ConfigError(
                f"{str(folder)!r} ({sae.format}) does not say which tensor it reads: keep the names of its folders, or "
                f"say `hooks: {{{name}: blocks.20.hook_resid_post}}`"
            )
        point = hookpoint_named(named or str(said), lm)
        if named and said and not sae.hook_is_a_guess and hookpoint_named(said, lm) != point:
            raise ConfigError(
                f"hooks: {{{name}: {named}}}, and {str(folder)!r} says that it reads {said!r}: leave it out"
            )
        _warn_of_another_base(sae, lm)
        data = {"source": "published", "format": sae.format, "model": sae.model}
        return EncoderSite("sae", point.module, point.side, encoder.width, "as published", None, data)

    @override
    def widths(self, lm: nn.Module) -> dict[str, int]:
        return {site: int(encoder.num_latents) for site, encoder in self._encoders.items()}

    @override
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """Which latents (B, k) are used, and how much."""
        acts, indices = encoder(x)
        return {f"{site}.indices": indices.to(torch.int32), f"{site}.values": acts.float()}


def _warn_of_another_base(sae: SaeFolder, lm: Any) -> None:
    if sae.model and is_another_model(sae.model, str(lm.config.name_or_path)):
        rank_zero_warn(
            f"the SAE {str(sae.folder)!r} names {sae.model!r} as its model, and the base is "
            f"{lm.config.name_or_path!r}: unless the weights are the same, its latents mean something else here"
        )
