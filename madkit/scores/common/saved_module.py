"""A fitted module is a folder: ``config.json`` (class, options, checksum) and ``state.safetensors``."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar, cast

import safetensors.torch
from torch import Tensor, nn

import madkit
from madkit.errors import ConfigError, NotFittedError, StoreError
from madkit.runs.atomic import write_atomically
from madkit.runs.configured import Configured

Self = TypeVar("Self", bound="SavedModule")
_CONFIG, _STATE = "config.json", "state.safetensors"


class SavedModule(Configured, nn.Module):
    """A module that has its fitted tensors as buffers, and is saved as these and its constructor arguments.

    Attributes:
        d: number of features of the rows; None before the first.
        fitted: whether rows can be scored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.d: int | None = None
        self.fitted = False

    def save(self, folder: str | Path) -> None:
        """Write the fitted module to `folder`, replacing the one that is there.

        The configuration is written last and holds the checksums of the tensors and of itself, so that a half-written
        folder is never read as a complete one, nor one that was changed.

        Raises:
            NotFittedError: the module is not fitted.
            ConfigError: an option is nothing that JSON can hold.
        """
        if not self.fitted:
            raise NotFittedError(f"{self.short} is not fitted: call fit() or finalize() before save()")
        state = safetensors.torch.save({name: buffer.contiguous().cpu() for name, buffer in self.named_buffers()})
        config = {
            "class": _class_path(type(self)),
            "init": self.config,
            "d": self.d,
            "libraries": self._libraries,
            "state_sha256": hashlib.sha256(state).hexdigest(),
            "madkit_version": madkit.__version__,
        }
        try:
            text = json.dumps({**config, "sha256": _checksum(config)}, indent=2) + "\n"
        except TypeError as error:
            raise ConfigError(
                f"{self.name} has an option JSON cannot hold ({error}): use numbers and strings"
            ) from error
        write_atomically(Path(folder) / _STATE, lambda path: path.write_bytes(state))
        write_atomically(Path(folder) / _CONFIG, lambda path: path.write_text(text))

    @classmethod
    def load(cls: type[Self], folder: str | Path) -> Self:
        """Read what `save` wrote, bit by bit the same. No code is imported by what the file says.

        Args:
            folder: holds ``config.json`` and ``state.safetensors`` of this class or a subclass.

        Raises:
            StoreError: the folder is missing, half-written or damaged, its class is unknown or another one, or it
                needs another version of a library to give the same numbers.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / _CONFIG).read_text())
            state = (folder / _STATE).read_bytes()
            path, options, d, checksum = (config[key] for key in ("class", "init", "d", "state_sha256"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"folder={str(folder)!r} is no complete saved score ({error!r}): save it again") from error
        if hashlib.sha256(state).hexdigest() != checksum:
            raise StoreError(f"{folder / _STATE} does not match {_CONFIG}, it is damaged: fit and save it again")
        classes = {_class_path(child): child for child in _subclasses(SavedModule)}
        if path not in classes:
            raise StoreError(f"{folder / _CONFIG} names an unknown class {path!r}: import its module, then load")
        if not issubclass(classes[path], cls):
            raise StoreError(f"folder={str(folder)!r} holds a {path}, not a {cls.__name__}: use load_score(folder)")
        try:
            module = classes[path]._from_saved(options)
        except TypeError as error:
            raise StoreError(f"{folder / _CONFIG} does not fit this {path} ({error}): fit it again") from error
        if (needed := config.get("libraries", {})) != module._libraries:
            raise StoreError(
                f"folder={str(folder)!r} was fitted with {needed}, here is {module._libraries}, which may give other "
                "numbers: install those versions, or fit again"
            )
        if config.pop("sha256", None) != _checksum(config):
            raise StoreError(f"{folder / _CONFIG} does not match its checksum, it was damaged or changed: fit it again")
        module.d = d
        module._freeze(safetensors.torch.load(state))
        return cast(Self, module)

    @property
    def _libraries(self) -> dict[str, str]:
        """Versions, by package, that a saved module needs again to give the same numbers; none unless given."""
        return {}

    @classmethod
    def _from_saved(cls: type[Self], options: dict[str, Any]) -> Self:
        """The module with the options that a file names. What a file names must never be imported for that."""
        return cls(**options)

    def _freeze(self, tensors: dict[str, Tensor]) -> None:
        """Take the fitted tensors as buffers; from now on the module is fitted."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        self.fitted = True


def _checksum(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _class_path(cls: type[nn.Module]) -> str:
    """The bare class name for madkit's classes, ``module.Class`` for anybody else's."""
    return cls.__qualname__ if cls.__module__.startswith("madkit.") else f"{cls.__module__}.{cls.__qualname__}"


def _subclasses(cls: type[Self]) -> list[type[Self]]:
    """All subclasses that have been imported, at any depth."""
    return [each for child in cls.__subclasses__() for each in [child, *_subclasses(child)]]
