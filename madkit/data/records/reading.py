"""Records are read from a file, a folder or the hub, as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from madkit.data.records.columns import arrow_table
from madkit.data.records.json_table import json_table
from madkit.data.tables.files import SUFFIXES, columns_of, read_rows, suffix_of
from madkit.data.tables.json_rows import read_json_rows
from madkit.data.tasks.base import SPLITS
from madkit.errors import ConfigError, DataError
from madkit.runs.hub import hub_name

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def read_splits(source: str) -> dict[str, Dataset]:
    """Read the splits of a source of records, as they are.

    Args:
        source: A folder written by `save_to_disk`; a file (parquet, JSONL, JSON or CSV, also compressed), whose rows
            may name their split in a column `split`; a folder of such files, of which those called `train*`,
            `validation*` and `test*` (also in a subfolder `data`) are the splits; or a hub name, `owner/name` or
            `owner/name@revision`.

    Returns:
        At least one split. What does not say which split it is, is called `train`.

    Raises:
        ConfigError: There is no such file, folder or hub dataset.
        DataError: It is damaged or holds no rows, or the column `split` has another value.
    """
    from datasets import Dataset, load_from_disk

    path = Path(source).expanduser()
    if path.is_dir() and any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        saved = load_from_disk(str(path))
        splits = {"train": saved} if isinstance(saved, Dataset) else dict(saved)
    elif path.is_dir():
        splits = _read_folder(path)
    elif path.exists() or source.startswith(("/", ".", "~")) or suffix_of(path):
        if not path.exists():
            raise ConfigError(f"source={source!r} is not a folder or file here: check the path, or give a hub name")
        if suffix_of(path) is None:
            raise ConfigError(f"source={source!r} is no table: its name must end in one of {', '.join(SUFFIXES)}")
        splits = {"train": Dataset(_read_tables([path]))}
    else:
        splits = _read_hub(source)
    if len(splits) == 1:
        splits = _split_by_column(source, *splits.items())
    if not any(map(len, splits.values())):
        raise DataError(f"source={source!r} holds no rows: give a table with a row for each question or record")
    return {split: dataset for split, dataset in splits.items() if len(dataset)}


def column_names(source: str) -> list[str]:
    """The columns of a source's first split, read at little cost."""
    path = Path(source).expanduser()
    if suffix_of(path) is not None and path.is_file():
        return columns_of(path)
    if path.is_dir() and not (path / "dataset_dict.json").exists() and not (path / "state.json").exists():
        return columns_of(next(iter(_files_of(path).values()))[0])
    return next((dataset.column_names for dataset in read_splits(source).values()), [])


def _read_hub(source: str) -> dict[str, Dataset]:
    from datasets import load_dataset

    repository, revision = hub_name(source)
    try:
        return dict(load_dataset(repository, revision=revision))
    except Exception as error:  # the hub client raises many unrelated types
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"source={source!r} is neither a file nor a folder here nor can it be had from the hub: {reason}"
        ) from error


def _read_folder(folder: Path) -> dict[str, Dataset]:
    from datasets import Dataset

    return {split: Dataset(_read_tables(files)) for split, files in _files_of(folder).items()}


def _files_of(folder: Path) -> dict[str, list[Path]]:
    """The files of each split; all of them for `train`, where none is called like a split."""
    files = sorted(file for file in [*folder.glob("*"), *folder.glob("data/*")] if suffix_of(file) is not None)
    if not files:
        raise DataError(
            f"source={str(folder)!r} holds no records: it needs train.parquet and validation.parquet "
            "(or .jsonl), one file of all splits, or a folder written by save_to_disk"
        )
    named = {split: [file for file in files if file.name.startswith(split)] for split in SPLITS}
    if not any(named.values()):
        return {"train": files}
    # Where the same split exists in several formats, one of them is enough.
    return {split: [f for f in some if suffix_of(f) == suffix_of(some[0])] for split, some in named.items() if some}


def _read_tables(files: list[Path]) -> pa.Table:
    import pyarrow as pa

    # The rows of all JSON files together decide the types of their columns.
    objects = [row for file in files if _is_json(file) for row in read_json_rows(file)]
    named = f"source={str(files[0].parent)!r}: {files[0].name}"
    tables = [json_table(objects, named)] if objects else []
    with _errors_name(files[0]):
        tables += [_read_table(file) for file in files if not _is_json(file)]
        return pa.concat_tables(tables, promote_options="default")


def _is_json(file: Path) -> bool:
    return suffix_of(file) in (".jsonl", ".ndjson", ".json")


def _read_table(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet

    if suffix_of(file) == ".parquet":
        return pa.parquet.read_table(file)
    rows, left_out = read_rows(file, list)
    if left_out:
        raise DataError(f"{str(file)!r} is malformed: {left_out} lines have another number of columns than the first")
    return pa.Table.from_pandas(rows, preserve_index=False)


@contextmanager
def _errors_name(file: Path) -> Iterator[None]:
    """Turn Arrow's errors into one line that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"source={str(file.parent)!r}: {file.name} is malformed: {reason.rstrip('.')}: write or copy it again"
        ) from None


def _split_by_column(source: str, item: tuple[str, Dataset]) -> dict[str, Dataset]:
    """Divide a split by its column `split`, if it has one."""
    import pyarrow.compute as pc
    from datasets import Dataset

    name, dataset = item
    if "split" not in dataset.column_names:
        return {name: dataset}
    table = arrow_table(dataset)
    values = pc.unique(table["split"]).to_pylist()
    if strange := [value for value in values if value not in SPLITS]:
        raise DataError(f"column 'split' of source={source!r} has {strange[:5]}: use {', '.join(SPLITS)}")
    return {
        split: Dataset(table.filter(pc.equal(table["split"], split)).drop_columns(["split"]).combine_chunks())
        for split in SPLITS
        if split in values
    }
