"""SaeFolder: a sparse autoencoder on disk, in the format of whoever published it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from madkit.encoders.sae.formats.weight_file import WeightFile
from madkit.encoders.sae.latent_encoder import LatentEncoder
from madkit.errors import ConfigError


class SaeFolder(ABC):
    """A folder with one sparse autoencoder, of which the encoder is read.

    Class attributes:
        format: what the format is called.
        settings: the file that describes it; empty for none.
        weights: the file with its tensors.

    Args:
        folder: the folder.
    """

    format: ClassVar[str]
    settings: ClassVar[str]
    weights: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder has this format."""
        return all((folder / name).is_file() for name in (cls.settings, cls.weights) if name)

    @property
    @abstractmethod
    def hook(self) -> str | None:
        """The tensor that it reads, as the files call it; None where they do not say."""

    @property
    def is_own(self) -> bool:
        """Whether madkit has trained it, and so says itself what it reads."""
        return False

    @property
    def hook_is_a_guess(self) -> bool:
        """Whether `hook` is the name of a folder, which anyone may have given it."""
        return False

    @property
    def model(self) -> str | None:
        """The model that it was trained on, as the files call it; None where they do not say."""
        return None

    @abstractmethod
    def encoder(self, lm: nn.Module) -> LatentEncoder:
        """What makes its latents.

        Args:
            lm: the model whose activations are read; a skeleton will do.

        Raises:
            ConfigError: its files are damaged, or it is of a kind that is not read.
        """

    @property
    def files(self) -> list[Path]:
        """What decides its latents."""
        return [self.folder / name for name in (self.settings, self.weights) if name]

    @cached_property
    def tensors(self) -> WeightFile:
        """Its tensors."""
        return WeightFile(self.folder / self.weights)

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the settings say."""
        path = self.folder / self.settings
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{str(path)!r} is damaged ({error}); take another copy of it") from error

    def refused(self, what: str, way: str = "take an SAE of a kind that is read") -> ConfigError:
        """The error of an SAE that is not read.

        Args:
            what: why not.
            way: what to do.
        """
        return ConfigError(f"{str(self.folder)!r} ({self.format}): {what}; {way}")

    def require_width(self, said: Any, width: int) -> None:
        """Refuse settings and tensors that do not belong together."""
        if said is not None and said != width:
            raise self.refused(f"settings say {said} inputs and the tensors have {width}", "take another copy of it")

    def checked_k(self, k: Any, latents: int) -> int:
        """How many latents a row may use, where that is a number of them."""
        if not isinstance(k, int) or not 1 <= k <= latents:
            raise self.refused(f"k={k!r} of {latents} latents", "take another copy of it")
        return k
