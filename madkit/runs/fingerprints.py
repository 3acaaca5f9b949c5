"""Fingerprints: which exact weights and tokenizer made a result."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from madkit.errors import ConfigError
from madkit.runs import hub
from madkit.runs.file_digest import file_digest
from madkit.runs.fitted import require_fitted
from madkit.runs.gguf_base import base_folder


def digest(value: Any) -> str:
    """A short, stable digest of a plain value (dicts in any order give the same one).

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_digest(cls: type, *modules: str, stop: type = object) -> str:
    """A digest of the source of the modules of a class and its bases, and of some others.

    Args:
        cls: the class.
        modules: names of further modules that decide what it makes.
        stop: the base at which to stop, whose module does not count.
    """
    bases = inspect.getmro(cls)
    names = {base.__module__ for base in bases[: bases.index(stop)]} | set(modules)
    sha = hashlib.sha256()
    for name in sorted(names):
        file = getattr(importlib.import_module(name), "__file__", None)
        if file is not None and Path(file).suffix == ".py":
            sha.update(Path(file).read_bytes())
    return sha.hexdigest()[:16]


def weights_fingerprint(folder: Path) -> str:
    """A digest of all safetensors files in a model folder, or of an adapter, whatever lies beside it.

    Raises:
        ConfigError: if the folder holds no safetensors weights.
        StoreError: if it is what `madkit fit` left, and is unfinished or damaged.
    """
    require_fitted(folder)
    is_adapter = (folder / "adapter_config.json").is_file()
    files = sorted(folder.glob("adapter_*.safetensors" if is_adapter else "*.safetensors"))
    if not files:
        if pickled := sorted(path.name for path in folder.glob("*.bin")):
            raise ConfigError(
                f"{str(folder)!r} holds {pickled[0]}, a pickle, which is never read: load it where you trust it, and "
                "`save_pretrained` of peft or transformers writes safetensors"
            )
        raise ConfigError(
            f"{str(folder)!r} holds no {'adapter_model' if is_adapter else ''}.safetensors weights; is it a complete "
            "model or adapter folder? (pickled .bin files are not read; `save_pretrained` of peft or transformers "
            "writes safetensors)"
        )
    settings = folder / ("adapter_config.json" if is_adapter else "config.json")
    content = {path.name: file_digest(path) for path in files}
    for path in [settings] if settings.exists() else []:
        # Where a folder lies does not change what it computes.
        try:
            options = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{str(path)!r} is damaged ({error}); train or download the folder again") from error
        for volatile in ("_name_or_path", "base_model_name_or_path", "transformers_version", "peft_version"):
            options.pop(volatile, None)
        content[path.name] = digest(options)
    return digest(content)


def local_folder(name: str, subfolders: list[str] | None = None, files: Sequence[str] = hub.MODEL) -> Path:
    """The folder of a model or adapter: itself when local, else its snapshot in the hub's cache.

    Args:
        name: folder or hub name.
        subfolders: parts of the hub's repository that are enough; None for all of it.
        files: patterns of the files that are enough.
    """
    if hub.hub_name(name).revision is None:
        name = base_folder(name, "model")
    path = Path(name)
    if path.is_dir():
        return path
    return hub.snapshot(
        name, files if subfolders is None else [f"{part}/{kind}" for part in subfolders for kind in files]
    )


def fingerprint(name: str) -> str:
    """The fingerprint of a model given by folder or hub name."""
    return weights_fingerprint(local_folder(name))


def adapter_fingerprint(name: str) -> str:
    """The fingerprint of an adapter given by folder or hub name."""
    return weights_fingerprint(local_folder(name, files=hub.ADAPTER))


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """A digest of everything that decides how a tokenizer cuts a text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: Any = sorted(tokenizer.get_vocab().items()) if backend is None else json.loads(backend.to_str())
    if isinstance(content, dict):
        # How texts of a batch are filled up or cut is said with each call, and stays behind from the last one.
        content = {part: value for part, value in content.items() if part not in ("padding", "truncation")}
    return digest([content, type(tokenizer).__name__])
