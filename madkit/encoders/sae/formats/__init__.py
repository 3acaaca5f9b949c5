"""Formats of sparse autoencoders on disk, recognised by the files of a folder."""

from __future__ import annotations

from pathlib import Path

from madkit.encoders.sae.formats.foreign import foreign
from madkit.encoders.sae.formats.gemma_scope_folder import GemmaScope2Folder, GemmaScopeFolder
from madkit.encoders.sae.formats.llama_scope_folder import LlamaScopeFolder
from madkit.encoders.sae.formats.sae_folder import SaeFolder
from madkit.encoders.sae.formats.sae_lens_folder import SaeLensFolder
from madkit.encoders.sae.formats.sparsify_folder import SparsifyFolder

_FORMATS: tuple[type[SaeFolder], ...] = (
    SparsifyFolder, SaeLensFolder, LlamaScopeFolder, GemmaScopeFolder, GemmaScope2Folder,
)  # fmt: skip


def is_sae(folder: Path) -> bool:
    """Whether a folder is a sparse autoencoder in a format that is read."""
    return any(kind.recognises(folder) for kind in _FORMATS)


def open_sae(folder: Path) -> SaeFolder:
    """The sparse autoencoder of a folder.

    Raises:
        ConfigError: it holds none in a format that is read; the error says what it is.
    """
    for kind in _FORMATS:
        if kind.recognises(folder):
            return kind(folder)
    raise foreign(folder, ", ".join(kind.format for kind in _FORMATS))


__all__ = ["SaeFolder", "is_sae", "open_sae"]
