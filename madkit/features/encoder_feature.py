"""EncoderFeature: what trained encoders make of the tensors of an LM at the last prompt token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.encoders.encoder_site import EncoderSite, hook_width, site_name
from madkit.errors import ConfigError
from madkit.features.activations import entering_layer
from madkit.features.feature import Feature
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names
from madkit.runs.file_digest import file_digest
from madkit.runs.fingerprints import digest, local_folder
from madkit.runs.fitted import require_fitted
from madkit.store.variant import BASE_MODEL

#: Encoders in memory, by class, content and base model, so that a feature and its control hold each of them once.
_HELD: WeakValueDictionary[tuple[str, str, str], nn.Module] = WeakValueDictionary()


class EncoderFeature(Feature):
    """Encoders that were trained on a base model, applied to what passes the same tensors of the LM.

    Args:
        encoder: folder (or, for SAEs, hub name) with a subfolder per site; null for ``<run>/flow/encoder`` or
            ``<run>/sae/encoder``, beside the datasets' folders.
        subfolders: which of them to use; null for all.
    """

    needs = (BASE_MODEL,)
    #: What to fetch of a repository on the hub.
    fetched: tuple[str, ...] = ("*.safetensors", "*.json")

    def __init__(self, encoder: str | None = None, subfolders: list[str] | None = None) -> None:
        self.encoder = encoder
        self.subfolders = subfolders
        self._encoders: dict[str, Any] = {}
        self._sites: dict[str, EncoderSite] = {}
        self._fingerprints: dict[str, str] = {}

    @abstractmethod
    def load(self, folder: Path, lm: nn.Module) -> nn.Module:
        """The encoder of one subfolder."""

    @abstractmethod
    def describe(self, name: str, folder: Path, lm: nn.Module, encoder: Any) -> EncoderSite:
        """What the encoder of one subfolder was trained on."""

    @abstractmethod
    def apply(self, site: str, encoder: Any, x: Tensor) -> dict[str, Tensor]:
        """The vectors of x (B, d) at a site."""

    def files(self, folder: Path) -> list[Path]:
        """What decides what an encoder makes."""
        return sorted(folder.glob("*.*"))

    def is_encoder(self, folder: Path) -> bool:
        """Whether a folder is an encoder itself, and not one of encoders."""
        return False

    @override
    def prepare(self, lm: nn.Module, base: str, folder: Path) -> None:
        """Load the encoders.

        Raises:
            ConfigError: there are none, or they were trained on another base model or at a tensor it does not have.
        """
        self._encoders, self._sites, self._fingerprints = {}, {}, {}
        modules = dict(lm.named_modules())
        used: dict[str, str] = {}
        for name, path in self._folders(folder).items():
            content = {file.relative_to(path).as_posix(): file_digest(file) for file in self.files(path)}
            self._fingerprints[name] = digest(content)
            key = type(self).__name__, self._fingerprints[name], base
            encoder = _held(key, lambda path=path: self.load(path, lm))  # type: ignore[misc]
            about = self.describe(name, path, lm, encoder)
            if about.module not in modules:
                raise ConfigError(f"encoder {str(path)!r} reads {about.module!r}, which this model does not have")
            about.require(about.hookpoint, hook_width(lm, about.hookpoint), base)
            if about.site in used:
                raise ConfigError(
                    f"{type(self).__name__}(encoder={self.encoder!r}): {used[about.site]!r} and {name!r} both read "
                    f"{about.site!r}: name one of them in `subfolders`"
                )
            used[about.site] = name
            self._encoders[about.site], self._sites[about.site] = encoder, about

    def _folders(self, run: Path) -> dict[str, Path]:
        """The folder of each encoder, by its name in `subfolders`."""
        default = run.parent / self.short / "encoder"
        if self.encoder is None and not default.exists():
            raise ConfigError(
                f"{type(self).__name__}(encoder=null) and there is no {str(default)!r}; train it with "
                f"`madkit fit --config .../{self.short}.yaml`, name another folder, or leave the feature out"
            )
        root = default if self.encoder is None else local_folder(self.encoder, self.subfolders, self.fetched)
        require_fitted(root)
        if self.subfolders is None and self.is_encoder(root):
            return {root.name: root}
        paths = {path.name: path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
        names = sorted(paths, key=_natural) if self.subfolders is None else self.subfolders
        if not names or not all((root / name).is_dir() for name in names):
            raise ConfigError(
                f"{type(self).__name__}(encoder={str(root)!r}, subfolders={self.subfolders}): that folder holds "
                f"{sorted(paths)}"
            )
        return {name: root / name for name in names}

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return list(self._sites)

    @override
    def layers(self, lm: nn.Module) -> list[int | None]:
        # As for activations: what leaves layer 23 enters layer 24. What is inside of a layer belongs to it.
        names = layer_names(lm)
        return [
            next((i for i, layer in enumerate(names) if about.module.startswith(f"{layer}.")), None)
            if about.module not in names
            else entering_layer(about.hookpoint, names)
            for about in self._sites.values()
        ]

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


def _held(key: tuple[str, str, str], load: Callable[[], nn.Module]) -> nn.Module:
    """The encoder of a key: the one in memory, or one that is loaded now."""
    encoder = _HELD.get(key)
    if encoder is None:
        encoder = _HELD[key] = load()
    return encoder


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts ``layers.2`` before ``layers.10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
