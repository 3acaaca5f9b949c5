"""Records that take long to make are made once: later stages and other processes read them from disk."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from madkit.data.tables.raw import RawSource
from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically, write_json

if TYPE_CHECKING:
    from datasets import DatasetDict

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where they are kept: `madkit` in the cache of Hugging Face datasets, which HF_DATASETS_CACHE and HF_HOME move."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "madkit"


def cached(what: Mapping[str, Any], make: Callable[[], DatasetDict]) -> DatasetDict:
    """The records that `make` makes, from disk if they have been made before.

    One process makes them, others wait for it; a half-written folder is never read.

    Args:
        what: All that decides what is made, in plain values.
        make: Makes them.
    """
    from datasets import load_from_disk
    from filelock import FileLock

    text = json.dumps(what, sort_keys=True, default=str)
    place = folder() / hashlib.sha256(text.encode()).hexdigest()[:24]
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            log.warning("making records of dataset=%r in %s", what.get("dataset"), place)
            write_atomically(place, lambda path: _save(path, make(), what))
    return load_from_disk(str(place))


def contents(value: Any) -> Any:
    """An option of a dataset, with the content of the files that it names in place of where they lie."""
    if isinstance(value, Mapping):
        return {str(key): contents(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [contents(item) for item in value]
    if isinstance(value, str) and Path(value).expanduser().is_file():
        return _digest(Path(value).expanduser())
    return value


def raw_contents(raw: str | Mapping[str, Any]) -> Any:
    """What a raw table holds: the digests of its files, or what the hub calls its version.

    Raises:
        ConfigError: There is no such table.
    """
    source = RawSource.parse(raw)
    options = {} if isinstance(raw, str) else {key: value for key, value in raw.items() if key != "path"}
    path = Path(source.path).expanduser()
    if path.is_dir():
        files: Sequence[Path] = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
        return [options, [[str(file.relative_to(path)), _digest(file)] for file in files]]
    if source.is_local:
        return [options, [_digest(file) for file in source.files]]
    from datasets import load_dataset_builder

    try:
        return [options, source.path, load_dataset_builder(source.path, source.config).hash]
    except Exception as error:  # the hub client raises many unrelated types
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"raw={source.path!r} is neither a file nor a folder here nor can it be had from the hub: {reason}"
        ) from error


def code_of(cls: type, *modules: str) -> str:
    """A digest of the source of a class' and its bases' modules, and of some others: another code, other records."""
    named = {base.__module__ for base in inspect.getmro(cls) if base is not object} | set(modules)
    sha = hashlib.sha256()
    for name in sorted(named):
        file = getattr(importlib.import_module(name), "__file__", None)
        if file is not None and Path(file).suffix == ".py":
            sha.update(Path(file).read_bytes())
    return sha.hexdigest()[:16]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _save(path: Path, records: DatasetDict, what: Mapping[str, Any]) -> None:
    with no_progress_bars():
        records.save_to_disk(str(path))
    write_json(path / "madkit.json", json.loads(json.dumps(what, default=str)))


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the progress bars of Hugging Face datasets off the terminal."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()
