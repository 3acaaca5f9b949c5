"""Why a model could not be loaded, in one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from madkit.errors import ConfigError, MadkitError


@contextmanager
def explained(argument: str, name: str, what: str) -> Iterator[None]:
    """A context in which whatever goes wrong becomes one line.

    Folders come from anywhere, and what reads them raises errors of every class.

    Args:
        argument: what the user calls the model.
        name: a hub name or a folder.
        what: the part of it that is read, such as ``tokenizer``.

    Raises:
        ConfigError: instead of any exception but one of madkit or for lack of memory.
    """
    try:
        yield
    except (MadkitError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"{argument}={name!r}: cannot load the {what}: {_way_out(name, error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something; its class where none does."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _way_out(name: str, error: Exception) -> str:
    folder = Path(name)
    if not folder.is_dir():
        return (
            "it is no local folder and could not be fetched from the Hugging Face hub: check the name, the network "
            f"and (for gated models) `hf auth login`, or train a local base first ({first_line(error)})"
        )
    if damaged := damaged_file(folder):
        return f"{str(damaged)!r} is truncated or damaged: download it or make it again"
    if isinstance(error, ImportError):
        return f"{first_line(error)}; install that package, or choose a model that does not need it"
    if not list(folder.glob("*.safetensors")) and (pickles := sorted(folder.glob("pytorch_model*.bin"))):
        return (
            f"its weights are a pickle ({pickles[0].name}), which may run code and is never read: convert it to "
            "safetensors (save_pretrained)"
        )
    reason = first_line(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
    return f"{' '.join(reason.split())}; mend the folder, or download or train the model again"


def damaged_file(folder: Path) -> Path | None:
    """The first file of a model folder that is not what its name says, or None."""
    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # of JSON and of UTF-8
            return path
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError):
            return path
    return None
