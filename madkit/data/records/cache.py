"""Records that take long to make are made once: later stages and other processes read them from disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from madkit.data.tables.raw_source import RawSource
from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically, write_json
from madkit.runs.file_digest import file_digest, folder_contents
from madkit.runs.fingerprints import digest
from madkit.runs.hub import hub_name

if TYPE_CHECKING:
    from datasets import DatasetDict

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder `madkit` in the cache of Hugging Face datasets, which HF_DATASETS_CACHE and HF_HOME move."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "madkit"


def cached(made_of: Mapping[str, Any], make: Callable[[], DatasetDict]) -> DatasetDict:
    """The records that `make` makes, from disk if they have been made before.

    One process makes them, others wait for it; a half-written folder is never read.

    Args:
        made_of: All that decides what is made, in plain values.
        make: Makes them.
    """
    from datasets import load_from_disk
    from filelock import FileLock

    path = cache_folder() / digest(made_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            log.warning("making records of dataset=%r in %s", made_of.get("dataset"), path)
            records = make()
            write_atomically(path, lambda folder: _save(folder, records, made_of))
    return load_from_disk(str(path))


def raw_contents(raw: str | Mapping[str, Any]) -> Any:
    """What a raw table holds: the digests of its files, or what the hub calls its version.

    Raises:
        ConfigError: There is no such table.
    """
    source = RawSource.parse(raw)
    options = {} if isinstance(raw, str) else {key: value for key, value in raw.items() if key != "path"}
    path = Path(source.path).expanduser()
    if path.is_dir():
        return [options, folder_contents(path)]
    if source.is_local:
        return [options, [file_digest(file) for file in source.files]]
    from datasets import load_dataset_builder

    try:
        repository, revision = hub_name(source.path)
        return [options, source.path, load_dataset_builder(repository, source.config, revision=revision).hash]
    except Exception as error:  # the hub client raises many unrelated types
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"raw={source.path!r} is neither a file nor a folder here nor can it be had from the hub: {reason}"
        ) from error


def _save(path: Path, records: DatasetDict, made_of: Mapping[str, Any]) -> None:
    with no_progress_bars():
        records.save_to_disk(str(path))
    write_json(path / "madkit.json", json.loads(json.dumps(made_of, default=str)))


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
