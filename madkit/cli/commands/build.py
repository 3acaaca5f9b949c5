"""`madkit data build`: write a dataset's records to a folder or to the hub."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from madkit.data.records.cache import no_progress_bars
from madkit.data.records.checking import NO_DIFFICULTY, check_records
from madkit.data.records.columns import flat_frame
from madkit.data.records.sources import is_raw, load_records, make_records
from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically
from madkit.runs.leftovers import sweep
from madkit.runs.lock import locked

if TYPE_CHECKING:
    from datasets import DatasetDict

FORMATS = ("parquet", "jsonl", "arrow")
_DIFFICULTY_COLUMNS = ["difficulty", "difficulty_quantile"]


def build(
    dataset: str,
    out: str | None = None,
    raw: str | None = None,
    format: str = "parquet",
    push: str | None = None,
    private: bool = False,
    task_options: dict[str, Any] | None = None,
    seed: int = 0,
) -> int:
    """Make the records of a dataset, and write them to a folder, to the hub, or to both.

    What it writes can be named as --data.source of a recipe. A table without difficulties gives records without them,
    to which `madkit data difficulty` adds some.

    Args:
        dataset: A name such as sciq, or the class path of a dataset of yours.
        out: A new folder for them.
        raw: What to make them of: a table (CSV, TSV, JSONL, JSON or parquet, also compressed), a folder of tables or a
            hub name; or records, which are completed. By default what is built in. Names of columns,
            encoding and the like go into task_options, such as '{raw: {path: b.csv, columns: {title: Name}}}'.
        format: Of the folder: parquet or jsonl, a file for each split, or arrow, as save_to_disk writes it.
        push: A name on the hub, user/name, to send them to (after `hf auth login`).
        private: Whether the dataset on the hub is to be private.
        task_options: Options of the dataset, such as '{n_train: 8000, stratify: false}'.
        seed: Which questions.
    """
    if out is None and push is None:
        raise ConfigError("out=None and push=None: say where the records go, with --out FOLDER or --push USER/NAME")
    if format not in FORMATS:
        raise ConfigError(f"format={format!r} is unknown: use one of {', '.join(FORMATS)}")
    if out is not None and Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise ConfigError(f"out={out!r} is there already: name a new folder, or delete that one")
    with ExitStack() as stack:
        if out is not None:
            path = Path(out).absolute()
            stack.enter_context(locked(path.with_name(f".{path.name}.lock"), "madkit data build"))
            sweep(path.parent, path.name)
        records = build_records(dataset, raw, task_options, seed)
        if out is not None:
            write_records(records, path, format)
            print(out)
    if push is not None:
        push_records(records, push, private=private)
        print(f"https://huggingface.co/datasets/{push}")
    print("  ".join(f"{split} {len(rows)}" for split, rows in records.items()), file=sys.stderr)
    if "difficulty" not in next(iter(records.values())).column_names:
        print(f"these records have no difficulty yet; {NO_DIFFICULTY}", file=sys.stderr)
    return 0


def build_records(
    dataset: str, raw: str | None = None, task_options: dict[str, Any] | None = None, seed: int = 0
) -> DatasetDict:
    """The checked records of a dataset; without difficulties if what they are made of has none.

    Raises:
        ConfigError: There is no such dataset or table, or options do not fit.
        DataError: The table or the records are malformed.
    """
    from datasets import DatasetDict

    if raw is None:
        records = make_records(dataset, task_options, seed)
    elif is_raw(dataset, raw):
        records = make_records(dataset, {**(task_options or {}), "raw": raw}, seed)
    elif task_options:
        raise ConfigError(f"raw={raw!r} holds records already, so task_options={task_options} do nothing: drop them")
    else:
        records = load_records(raw)
    if not _lack_difficulty(records):
        return check_records(records, requantile=True)
    # For the check they get one, which is removed again.
    equal = {}
    for split, rows in records.items():
        plain = rows.remove_columns([column for column in _DIFFICULTY_COLUMNS if column in rows.column_names])
        equal[split] = plain.add_column("difficulty", np.zeros(len(rows)))
    return check_records(DatasetDict(equal)).remove_columns(_DIFFICULTY_COLUMNS)


def _lack_difficulty(records: DatasetDict) -> bool:
    """Whether no record says how hard it is; if only some do not, that is a mistake."""
    frames = [flat_frame(rows) for rows in records.values()]
    return all("difficulty" not in frame or frame["difficulty"].isna().all() for frame in frames)


def write_records(records: DatasetDict, folder: Path, format: str = "parquet") -> None:
    """Write records to a new folder, which `load_records` and `datasets.load_dataset` can read."""

    def write(path: Path) -> None:
        if format == "arrow":
            records.save_to_disk(str(path))
            return
        path.mkdir(parents=True)
        for split, rows in records.items():
            file = str(path / f"{split}.{format}")
            rows.to_parquet(file) if format == "parquet" else rows.to_json(file)

    with no_progress_bars():
        write_atomically(folder, write)


def push_records(records: DatasetDict, name: str, private: bool = False) -> None:
    """Send records to the hub.

    Raises:
        ConfigError: The hub does not take them.
    """
    try:
        records.push_to_hub(name, private=private)
    except Exception as error:  # the hub client raises many unrelated types
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"push={name!r}: the hub does not take these records; check the name (user/name), the network and "
            f"`hf auth login` ({reason})"
        ) from error
