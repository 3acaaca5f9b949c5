"""What a flow or a sparse autoencoder makes of the residual stream at the last prompt token."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.encoders.encoder_site import EncoderSite, site_name
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.encoders.sae.sparse_coder import load_coder
from madkit.errors import ConfigError
from madkit.features.activations import entering_layer
from madkit.features.feature import Feature
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names, residual_width
from madkit.runs.file_digest import file_digest
from madkit.runs.fingerprints import digest, local_folder
from madkit.runs.fitted import require_fitted
from madkit.store.variant import BASE_MODEL


class EncoderFeature(Feature):
    """Encoders that were trained on a base model, applied to what passes the same tensors of the LM.

    Args:
        encoder: folder (or, for SAEs, hub name) with a subfolder per site; null for ``<run>/flow/encoder`` or
            ``<run>/sae/encoder``, beside the datasets' folders.
        subfolders: which of them to use; null for all.
    """

    needs = (BASE_MODEL,)

    def __init__(self, encoder: str | None = None, subfolders: list[str] | None = None) -> None:
        self.encoder = encoder
        self.subfolders = subfolders
        self._encoders: dict[str, Any] = {}
        self._sites: dict[str, EncoderSite] = {}
        self._fingerprints: dict[str, str] = {}

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """The encoder of one subfolder."""

    @abstractmethod
    def describe(self, folder: Path, lm: nn.Module) -> EncoderSite:
        """What the encoder of one subfolder was trained on."""

    @abstractmethod
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """The vectors of x (B, d) at a site."""

    @override
    def prepare(self, lm: nn.Module, base: str, folder: Path) -> None:
        """Load the encoders.

        Raises:
            ConfigError: there are none, or they were trained on another base model or at a tensor it does not have.
        """
        default = folder.parent / self.short / "encoder"
        if self.encoder is None and not default.exists():
            raise ConfigError(
                f"{type(self).__name__}(encoder=null) and there is no {str(default)!r}; train it with "
                f"`madkit fit --config .../{self.short}.yaml`, name another folder, or leave the feature out"
            )
        root = default if self.encoder is None else local_folder(self.encoder, self.subfolders)
        require_fitted(root)
        paths = {path.name: path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
        names = sorted(paths, key=_natural) if self.subfolders is None else self.subfolders
        if not names or set(names) - set(paths):
            raise ConfigError(
                f"{type(self).__name__}(encoder={str(root)!r}, subfolders={self.subfolders}): that folder holds "
                f"{sorted(paths)}"
            )
        self._encoders, self._sites, self._fingerprints = {}, {}, {}
        width = residual_width(lm)
        modules = dict(lm.named_modules())
        for name in names:
            about = self.describe(paths[name], lm)
            if about.module not in modules:
                raise ConfigError(
                    f"encoder {str(paths[name])!r} reads {about.module!r}, which this model does not have"
                )
            about.require(about.hookpoint, width, base)
            self._encoders[about.site], self._sites[about.site] = self.load(paths[name]), about
            content = {path.name: file_digest(path) for path in sorted(paths[name].glob("*.*"))}
            self._fingerprints[name] = digest(content)

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return list(self._sites)

    @override
    def layers(self, lm: nn.Module) -> list[int | None]:
        # As for activations: what leaves layer 23 enters layer 24.
        return [entering_layer(about.hookpoint, layer_names(lm)) for about in self._sites.values()]

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        return [about.hookpoint for about in self._sites.values()]

    @override
    @torch.no_grad()
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """The encoders' vectors, in float32."""
        vectors: dict[str, Tensor] = {}
        for hookpoint, x in trace.activations.items():
            site = site_name(hookpoint)
            self._sites[site].require(hookpoint, x.shape[1])
            vectors |= self.apply(site, self._encoders[site].to(x.device), x)
        return vectors

    @override
    def identity(self) -> dict[str, Any]:
        # What the encoders are, not where they lie.
        trained_on = {site: about.data for site, about in self._sites.items()}
        return super().identity() | {"options": {"encoders": self._fingerprints}, "trained_on": trained_on}


class Flow(EncoderFeature):
    """z = f(activation) (B, d), coordinates that are independent Laplace(0, 1) on what the flow was trained on.

    Args:
        encoder: folder of flows; null for the run's, ``<run>/flow/encoder``.
        subfolders: which of them to use; null for all.
    """

    @override
    def load(self, folder: Path) -> nn.Module:
        return LaplaceFlow.load(folder)

    @override
    def describe(self, folder: Path, lm: nn.Module) -> EncoderSite:
        return EncoderSite.load(folder)

    @override
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        return {site: encoder(x)}


class SAE(EncoderFeature):
    """The latents of a sparse autoencoder, of which each prompt uses at most k; they stay sparse.

    Args:
        encoder: folder of SAEs in sparsify's format, or a hub name such as ``EleutherAI/sae-llama-3-8b-32x``; null for
            the run's, ``<run>/sae/encoder``. A published SAE's subfolder is named after the module whose output it
            reads.
        subfolders: which of them to use, such as ``layers.23``; null for all.
    """

    @override
    def load(self, folder: Path) -> nn.Module:
        return load_coder(folder)

    @override
    def describe(self, folder: Path, lm: nn.Module) -> EncoderSite:
        """What ``config.json`` says; of a published SAE, what the folder's name does."""
        if (folder / "config.json").exists():
            return EncoderSite.load(folder)
        prefix = getattr(lm, "base_model_prefix", "")
        modules = dict(lm.named_modules())
        module = folder.name if folder.name in modules else f"{prefix}.{folder.name}"
        return EncoderSite(
            "sae", module, "output", load_coder(folder).d_in, "as published", None, {"source": "published"}
        )

    @override
    def widths(self, lm: nn.Module) -> dict[str, int]:
        return {site: int(encoder.num_latents) for site, encoder in self._encoders.items()}

    @override
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """Which latents (B, k) are used, and how much."""
        acts, indices, _ = encoder.encode(x.to(encoder.dtype))
        return {f"{site}.indices": indices.to(torch.int32), f"{site}.values": acts.float()}


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts ``layers.2`` before ``layers.10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
