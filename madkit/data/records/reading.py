"""Records as they lie in a file, in a folder or on the hub, before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from madkit.data.tables.files import SUFFIXES, kind_of, names_in, read_rows
from madkit.data.tasks.base import SPLITS
from madkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def read_splits(source: str) -> dict[str, Dataset]:
    """Read the splits of a source of records, as they are.

    Args:
        source: A folder written by `save_to_disk`; a file (parquet, JSONL, JSON or CSV, also compressed), whose rows
            may name their split in a column `split`; a folder of such files, of which those called `train*`,
            `validation*` and `test*` (also in a subfolder `data`) are the splits; or a hub name.

    Returns:
        At least one split. What does not say which split it is, is called `train`.

    Raises:
        ConfigError: There is no such file, folder or hub dataset.
        DataError: It is damaged or holds no rows, or the column `split` has another value.
    """
    from datasets import Dataset, load_from_disk

    path = Path(source).expanduser()
    if path.is_dir() and any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        found = load_from_disk(str(path))
        splits = {"train": found} if isinstance(found, Dataset) else dict(found)
    elif path.is_dir():
        splits = _read_folder(path)
    elif path.exists() or source.startswith(("/", ".", "~")) or kind_of(path):
        if not path.exists():
            raise ConfigError(f"source={source!r} is not a folder or file here: check the path, or give a hub name")
        if kind_of(path) is None:
            raise ConfigError(f"source={source!r} is no table: its name must end in one of {', '.join(SUFFIXES)}")
        splits = {"train": Dataset(_read_tables([path]))}
    else:
        splits = _read_hub(source)
    if len(splits) == 1:
        splits = _by_column(source, *splits.items())
    return {split: dataset for split, dataset in splits.items() if len(dataset)}


def column_names(source: str) -> list[str]:
    """The columns of a source's first split, read as cheaply as can be."""
    path = Path(source).expanduser()
    if kind_of(path) is not None and path.is_file():
        return names_in(path)
    if path.is_dir() and not (path / "dataset_dict.json").exists() and not (path / "state.json").exists():
        return names_in(next(iter(_files_of(path).values()))[0])
    return next((dataset.column_names for dataset in read_splits(source).values()), [])


def _read_hub(source: str) -> dict[str, Dataset]:
    from datasets import load_dataset

    try:
        return dict(load_dataset(source))
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
    files = sorted(file for file in [*folder.glob("*"), *folder.glob("data/*")] if kind_of(file) is not None)
    if not files:
        raise DataError(
            f"source={str(folder)!r} holds no records: it needs train.parquet and validation.parquet "
            "(or .jsonl), one file of all splits, or a folder written by save_to_disk"
        )
    named = {split: [file for file in files if file.name.startswith(split)] for split in SPLITS}
    if not any(named.values()):
        return {"train": files}
    # Where the same split is there in several formats, one of them is enough.
    return {split: [f for f in found if kind_of(f) == kind_of(found[0])] for split, found in named.items() if found}


def _read_tables(files: list[Path]) -> pa.Table:
    import pyarrow as pa

    with _named(files[0]):
        return pa.concat_tables([_read_table(file) for file in files], promote_options="default")


def _read_table(file: Path) -> pa.Table:
    import fsspec
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    if kind_of(file) == ".parquet":
        return pa.parquet.read_table(file)
    with fsspec.open(str(file), "rb", compression="infer") as stream:
        lines = kind_of(file) in (".jsonl", ".ndjson", ".json") and stream.read(64).lstrip()[:1] == b"{"
    if not lines:
        rows, left_out = read_rows(file, list)
        if left_out:
            raise DataError(
                f"{str(file)!r} is malformed: {left_out} lines have another number of columns than the first"
            )
        return pa.Table.from_pandas(rows, preserve_index=False)
    with fsspec.open(str(file), "rb", compression="infer") as stream:
        # One row must fit into a block; some reviews are long.
        options = pa.json.ReadOptions(block_size=16 << 20)
        return pa.json.read_json(stream, read_options=options)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Turn Arrow's complaints into one line that says where."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"source={str(file.parent)!r}: {file.name} is malformed: {reason}") from None


def _by_column(source: str, only: tuple[str, Dataset]) -> dict[str, Dataset]:
    """Take a split apart by its column `split`, if it has one."""
    import pyarrow.compute as pc
    from datasets import Dataset

    name, dataset = only
    if "split" not in dataset.column_names:
        return {name: dataset}
    table = dataset.with_format("arrow")[:]
    values = pc.unique(table["split"]).to_pylist()
    if strange := [value for value in values if value not in SPLITS]:
        raise DataError(f"column 'split' of source={source!r} has {strange[:5]}: use {', '.join(SPLITS)}")
    return {
        split: Dataset(table.filter(pc.equal(table["split"], split)).drop_columns(["split"]).combine_chunks())
        for split in SPLITS
        if split in values
    }
