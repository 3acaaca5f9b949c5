"""Records from wherever they come: generated, made of a raw table, or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from madkit.data.records.cache import cached, code_of, contents, raw_contents
from madkit.data.records.loading import check_records, load_records
from madkit.data.records.reading import column_names
from madkit.data.tasks import Task, find_task, make_task, task_names
from madkit.data.tasks.table import TableTask
from madkit.errors import ConfigError

if TYPE_CHECKING:
    from datasets import DatasetDict

#: Columns that a table of records has and a raw one has not.
_OF_RECORDS = {"template_args", "alice_label", "bob_label", "character"}


def open_records(
    dataset: str,
    source: str | None = None,
    task_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    requantile: bool = True,
) -> DatasetDict:
    """The records of a dataset, checked.

    Args:
        dataset: A name of `task_names()`, a class path, or any name of one's own that goes with `source`.
        source: None to generate them; records (a file, a folder, a hub name); or a raw table that this dataset can be
            made of. `{dataset}` in it stands for the name of the dataset.
        task_options: Options of the dataset.
        seed: Which questions are made.
        requantile: Rank the difficulty of loaded records anew; see `check_records`.

    Raises:
        ConfigError: There is no such dataset or source, or options do not fit.
        DataError: The records are malformed.
    """
    if source is None:
        # Checked as well, because a task may be a user's own.
        return check_records(made_records(dataset, task_options, seed), requantile=False)
    source = source.replace("{dataset}", dataset)
    if is_raw(dataset, source):
        return check_records(made_records(dataset, {**(task_options or {}), "raw": source}, seed), requantile=False)
    if task_options:
        raise ConfigError(f"task_options={dict(task_options)} are for generated records: drop them or source")
    return check_records(load_records(source), requantile)


def made_records(dataset: str, task_options: Mapping[str, Any] | None = None, seed: int = 0) -> DatasetDict:
    """The records of a dataset that are generated or made of a raw table, unchecked; the latter are kept on disk."""
    task = make_task(dataset, task_options)
    raw = getattr(task, "raw", None)
    if not isinstance(task, TableTask) or raw is None:
        return task.records(seed)
    others = {key: value for key, value in (task_options or {}).items() if key != "raw"}
    what = {
        "dataset": dataset,
        "options": contents(others),
        "seed": seed,
        "raw": raw_contents(raw),
        "code": code_of(type(task), "madkit.data.tables.raw", "madkit.data.tables.files", "madkit.data.prompts.names"),
    }
    return cached(what, lambda: task.records(seed))


def is_raw(dataset: str, source: str) -> bool:
    """Whether a source is a raw table that this dataset can be made of, rather than records."""
    return is_table_task(dataset) and not _OF_RECORDS.intersection(column_names(source))


def is_table_task(dataset: str) -> bool:
    """Whether a dataset is one that is made of the rows of a table."""
    task = known_task(dataset)
    return task is not None and issubclass(task, TableTask)


def known_task(dataset: str) -> type[Task] | None:
    """The class of a dataset; None for a name that only says what a user's own records are about."""
    return find_task(dataset) if dataset in task_names() or "." in dataset else None
