"""What a flow or a sparse autoencoder makes of the residual stream at the last prompt token."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from madkit.encoders.encoder_site import EncoderSite, site_name
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.encoders.sae.sparse_coder import load_coder
from madkit.errors import ConfigError
from madkit.features.activations import entering_layer
from madkit.features.feature import Feature, Reading
from madkit.lm.hooks import Hookpoint, layer_names
from madkit.runs.fingerprints import digest, file_digest, local_folder


class EncoderFeature(Feature):
    """An encoder that was trained on a base model, applied to what passes the same tensor of the quirky LM.

    Args:
        encoder: folder (or, for SAEs, hub name) with a subfolder per site; null for ``<run>/flow/encoder`` or
            ``<run>/sae/encoder``, beside the datasets' folders.
        sites: subfolders to use; null for all.
        adapter: ``false`` reads the same prompts with the LoRA switched off, a control; it is called ``base_...``.
    """

    kind: str

    def __init__(self, encoder: str | None = None, sites: list[str] | None = None, adapter: bool = True) -> None:
        self.encoder = encoder
        self.chosen = sites
        self.adapter = adapter
        self.name = self.kind if adapter else f"base_{self.kind}"
        self._encoders: dict[str, Any] = {}
        self._sites: dict[str, EncoderSite] = {}
        self._fingerprint = ""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """One encoder."""

    @abstractmethod
    def describe(self, folder: Path, lm: nn.Module) -> EncoderSite:
        """Where one encoder belongs."""

    def prepare(self, lm: nn.Module, base: str, folder: Path) -> None:
        """Load the encoders.

        Raises:
            ConfigError: there are none, or they were trained on another base model or at a tensor it does not have.
        """
        default = folder.parent / self.kind / "encoder"
        if self.encoder is None and not default.exists():
            raise ConfigError(
                f"{type(self).__name__}(encoder=null) and there is no {str(default)!r}; train it with "
                f"`madkit fit --config .../{self.kind}.yaml`, name another folder, or leave the feature out"
            )
        root = default if self.encoder is None else local_folder(self.encoder, self.chosen)
        found = {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")}
        names = sorted(found, key=_natural) if self.chosen is None else self.chosen
        if not names or set(names) - set(found):
            raise ConfigError(
                f"{type(self).__name__}(encoder={str(root)!r}, sites={self.chosen}): that folder holds {sorted(found)}"
            )
        self._encoders, self._sites = {}, {}
        width = int(lm.config.hidden_size)  # type: ignore[union-attr,arg-type]
        modules = dict(lm.named_modules())
        content = {}
        for name in names:
            about = self.describe(found[name], lm)
            if about.module not in modules:
                raise ConfigError(
                    f"encoder {str(found[name])!r} reads {about.module!r}, which this model does not have"
                )
            about.require(about.hookpoint, width, base)
            encoder = self.load(found[name])
            self._encoders[about.site], self._sites[about.site] = encoder, about
            content[name] = {path.name: file_digest(path) for path in sorted(found[name].glob("*.*"))}
        self._fingerprint = digest(content)

    def sites(self, lm: nn.Module) -> list[str]:
        """The encoders' sites."""
        return list(self._sites)

    def layers(self, lm: nn.Module) -> list[int | None]:
        """The layers that the vectors enter, as for activations; what leaves layer 23 enters layer 24."""
        return [entering_layer(about.hookpoint, layer_names(lm)) for about in self._sites.values()]

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """The tensors that the encoders were trained on."""
        return [about.hookpoint for about in self._sites.values()]

    @torch.no_grad()
    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """The encoder's vectors, in float32."""
        made: dict[str, Tensor] = {}
        for point, x in reading.values.items():
            site = site_name(point)
            self._sites[site].require(point, x.shape[1])
            made |= self.apply(site, self._encoders[site].to(x.device), x)
        return made

    @abstractmethod
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """The vectors of x (B, d) at a site."""

    def options(self) -> dict[str, Any]:
        """The encoders' fingerprint rather than their place."""
        return {
            "class": type(self).__name__,
            "encoder": self._fingerprint,
            "adapter": self.adapter,
            "trained_on": {site: about.data for site, about in self._sites.items()},
        }


class Flow(EncoderFeature):
    """z = f(activation) (B, d), coordinates that are independent Laplace(0, 1) where the base model is at home.

    Args:
        encoder: folder of flows; null for the run's own, ``<run>/flow/encoder``.
        sites: names of the sites to use; null for all.
        adapter: ``false`` for the control with the LoRA switched off.
    """

    kind = "flow"

    def load(self, folder: Path) -> nn.Module:
        """See the base class."""
        return LaplaceFlow.load(folder)

    def describe(self, folder: Path, lm: nn.Module) -> EncoderSite:
        """See the base class."""
        return EncoderSite.load(folder)

    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """One dense vector."""
        return {site: encoder(x)}


class SAE(EncoderFeature):
    """The latents of a sparse autoencoder, of which each prompt uses at most k; they stay sparse.

    Args:
        encoder: folder of SAEs in sparsify's format, or a hub name such as ``EleutherAI/sae-llama-3-8b-32x``; null for
            the run's own, ``<run>/sae/encoder``. A published SAE's folder is named after the module whose output it
            reads.
        sites: subfolders to use, such as ``layers.23``; null for all.
        adapter: ``false`` for the control with the LoRA switched off.
    """

    kind = "sae"

    def load(self, folder: Path) -> nn.Module:
        """See the base class."""
        return load_coder(folder)

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

    def widths(self, lm: nn.Module) -> dict[str, int]:
        """The number of latents of each site."""
        return {site: int(encoder.num_latents) for site, encoder in self._encoders.items()}

    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """Which latents (B, k) are used, and how much."""
        acts, indices, _ = encoder.encode(x.to(encoder.dtype))
        return {f"{site}.indices": indices.to(torch.int32), f"{site}.values": acts.float()}


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts ``layers.2`` before ``layers.10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
