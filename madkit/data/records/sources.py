"""Records from any source: generated, made of a raw table, or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from madkit.data.records.cache import cached, raw_contents
from madkit.data.records.checking import Requantile, check_records
from madkit.data.records.completing import complete
from madkit.data.records.reading import column_names, read_splits
from madkit.data.tasks import Task, find_task, make_task, task_names
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError
from madkit.runs.fingerprints import code_digest
from madkit.runs.folder import contents

if TYPE_CHECKING:
    from datasets import DatasetDict

#: Columns that a table of records has and a raw one has not.
_OF_RECORDS = {"template_args", "alice_label", "bob_label", "character"}
#: What decides the records of a raw table, besides the code of the task's class and its bases.
_CODE = (
    "madkit.data.tables.files",
    "madkit.data.tables.json_rows",
    "madkit.data.tables.text_files",
    "madkit.data.tables.raw_source",
    "madkit.data.tasks.columns",
    "madkit.data.tasks.split_shares",
    "madkit.statistics.hashing",
)


def open_records(
    dataset: str,
    source: str | None = None,
    task_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    requantile: Requantile = True,
) -> DatasetDict:
    """The records of a dataset, checked.

    Args:
        dataset: A name of `task_names()`, a class path, or any other name that goes with `source`.
        source: None to generate them; records (a file, a folder, a hub name); or a raw table that this dataset can be
            made of. `{dataset}` in it stands for the name of the dataset.
        task_options: Options of the dataset.
        seed: Which questions are made.
        requantile: Rank the difficulty of loaded records anew; "balanced": of all records, also of those that are made,
            among those of their kind. See `check_records`.

    Raises:
        ConfigError: There is no such dataset or source, or options do not fit.
        DataError: The records are malformed.
    """
    # What is made has its quantiles.
    of_made: Requantile = "balanced" if requantile == "balanced" else False
    if source is None:
        # Checked as well, because a task may be a user's.
        return check_records(make_records(dataset, task_options, seed), of_made)
    source = source.replace("{dataset}", dataset)
    if is_raw(dataset, source):
        return check_records(make_records(dataset, {**(task_options or {}), "raw": source}, seed), of_made)
    if task_options:
        raise ConfigError(f"task_options={dict(task_options)} are for generated records: drop them or source")
    return check_records(load_records(source), requantile)


def load_records(source: str) -> DatasetDict:
    """Read records from the hub, a local folder or a file.

    Args:
        source: As for `madkit.data.records.reading.read_splits`. What the rows lack (a row for each character,
            labels, ids, splits) is filled in: see `madkit.data.records.completing.complete`.

    Returns:
        The splits, with all columns of a record but perhaps those of the difficulty.

    Raises:
        ConfigError: There is no such file, folder or hub dataset.
        DataError: It holds no records.
    """
    return complete(read_splits(source))


def make_records(dataset: str, task_options: Mapping[str, Any] | None = None, seed: int = 0) -> DatasetDict:
    """The records of a dataset that are generated or made of a raw table, unchecked; the latter are kept on disk."""
    task = make_task(dataset, task_options)
    raw = getattr(task, "raw", None)
    if not isinstance(task, TableTask) or raw is None:
        return task.records(seed)
    others = {key: value for key, value in (task_options or {}).items() if key != "raw"}
    made_of = {
        "dataset": dataset,
        "options": contents(others),
        "seed": seed,
        "raw": raw_contents(raw),
        "code": code_digest(type(task), *_CODE),
    }
    return cached(made_of, lambda: task.records(seed))


def is_raw(dataset: str, source: str) -> bool:
    """Whether a source is a raw table that this dataset can be made of, rather than records."""
    return is_table_task(dataset) and not _OF_RECORDS.intersection(column_names(source))


def is_table_task(dataset: str) -> bool:
    """Whether a dataset is one that is made of the rows of a table."""
    task = task_or_none(dataset)
    return task is not None and issubclass(task, TableTask)


def task_or_none(dataset: str) -> type[Task] | None:
    """The class of a dataset; None for a name that only says what a user's records are about."""
    return find_task(dataset) if dataset in task_names() or "." in dataset else None
