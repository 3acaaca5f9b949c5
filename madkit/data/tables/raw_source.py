"""The raw tables that quirky datasets are made of: a file, a folder of files, or a dataset of the hub."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from madkit.data.tables.files import SUFFIXES, read_rows, suffix_of
from madkit.errors import ConfigError, DataError
from madkit.runs.hub import hub_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawSource:
    """Where a table is, and how to read it.

    Attributes:
        path: A file (CSV, TSV, JSONL, JSON or parquet, also compressed), a folder of such files or one that
            `save_to_disk` wrote, or the name of a hub dataset.
        columns: What a column is called there: `{title: Name, ratings_count: "Ratings"}`. A number counts
            the columns of a CSV file without a header, from 0.
        config: Which configuration of a hub dataset.
        split: Which of its splits; None for all of them.
        encoding: Of a CSV or JSON file.
        separator: Of a CSV file; None for a comma, or a tabulator in `.tsv`.
        sample: At most this many rows, drawn at random but always the same; None for all.

    Raises:
        ConfigError: An option does not exist or does not fit.

    Example:
        >>> RawSource.parse("books.csv") == RawSource.parse({"path": "books.csv", "encoding": "utf-8"})
        True
    """

    path: str
    columns: Mapping[str, str | int] = field(default_factory=dict)
    config: str | None = None
    split: str | None = None
    encoding: str = "utf-8"
    separator: str | None = None
    sample: int | None = None

    @classmethod
    def parse(cls, raw: str | Mapping[str, Any]) -> RawSource:
        """A source given by its path alone, or by a mapping of these attributes."""
        if isinstance(raw, str):
            return cls(raw)
        options = [option.name for option in fields(cls)]
        if unknown := sorted(set(raw) - set(options)):
            raise ConfigError(f"raw={dict(raw)!r} has the unknown options {unknown}: use {options}")
        if not isinstance(raw.get("path"), str):
            raise ConfigError(f"raw={dict(raw)!r} names no table: set its path to a file, a folder or a hub name")
        source = cls(**raw)
        if source.sample is not None and source.sample < 1:
            raise ConfigError(f"raw: sample={source.sample} must be at least 1")
        if len({isinstance(name, int) for name in source.columns.values()}) > 1:
            raise ConfigError(
                f"raw: columns={dict(source.columns)!r} mixes names and numbers: use numbers for all of them if the "
                "file has no header, else names"
            )
        return source

    @property
    def is_local(self) -> bool:
        """Whether it is, or is meant to be, a local path rather than a name on the hub."""
        return (
            Path(self.path).exists() or self.path.startswith(("/", ".", "~")) or suffix_of(Path(self.path)) is not None
        )

    @property
    def files(self) -> list[Path]:
        """The local files that hold the table, in alphabetical order.

        Raises:
            ConfigError: There is no such file, or the folder holds none.
        """
        path = Path(self.path).expanduser()
        if path.is_file():
            if suffix_of(path) is None:
                raise ConfigError(f"raw={self.path!r}: the name must end in one of {', '.join(SUFFIXES)}")
            return [path]
        files = sorted(file for file in path.rglob("*") if suffix_of(file) is not None) if path.is_dir() else []
        if not files:
            raise ConfigError(
                f"raw={self.path!r} is not there: give a file ({', '.join(SUFFIXES)}), a folder of such files or a hub "
                "name"
            )
        return files


def load_table(
    raw: str | Mapping[str, Any],
    columns: Sequence[str],
    optional: Sequence[str] = (),
    *,
    numbers: Collection[str] = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Read the columns that a dataset needs.

    Args:
        raw: The path of a file or folder, a hub name, or the options of a `RawSource`.
        columns: What the table must have.
        optional: What it may have besides.
        numbers: Which of these are numbers; the others are text. `difficulty` always is one.
        aliases: Other names of a column, such as `{"lat": ["latitude"]}`. Case does not matter.

    Returns:
        The rows, under the names of `columns` and, where present, `optional`: text as str, "" where
        there is none; numbers as float64, NaN where there is none.

    Raises:
        ConfigError: There is no such table, or its options do not fit.
        DataError: A column is missing, a number is not one, or the file is damaged.
    """
    source = RawSource.parse(raw)
    names = source.columns
    if strange := sorted(set(names) - {*columns, *optional}):
        raise ConfigError(f"raw: columns names {strange}, but the dataset needs {[*columns, *optional]}")
    parts = [_part(source, file, columns, optional, aliases or {}) for file in table_parts(source)]
    table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if not len(table):
        raise DataError(f"raw={source.path!r} holds no rows")
    if source.sample is not None and source.sample < len(table):
        chosen = np.random.default_rng(0).choice(len(table), source.sample, replace=False)
        table = table.iloc[np.sort(chosen)].reset_index(drop=True)
    numeric = {*numbers, "difficulty"}
    return pd.DataFrame(
        {name: _numbers(source, name, table[name]) if name in numeric else _texts(table[name]) for name in table}
    )


def table_parts(source: RawSource, argument: str = "raw") -> list[Any]:
    """The files of a table, or the splits of a hub dataset or of what `save_to_disk` wrote.

    Args:
        source: Where it is.
        argument: What the user calls it, for messages.

    Raises:
        ConfigError: There is no such table, or no such split.
    """
    from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

    folder = Path(source.path).expanduser()
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        dataset = load_from_disk(str(folder))
    elif source.is_local:
        return source.files
    else:
        repository, revision = hub_name(source.path)
        try:
            dataset = load_dataset(repository, source.config, revision=revision)
        except Exception as error:  # the hub client raises many unrelated types
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"{argument}={source.path!r} is neither a file nor a folder here nor can it be had from the hub: "
                f"{reason}"
            ) from error
    splits = {"train": dataset} if isinstance(dataset, Dataset) else DatasetDict(dataset)
    if source.split is not None and source.split not in splits:
        raise ConfigError(f"{argument}={source.path!r} has no split {source.split!r}: choose from {sorted(splits)}")
    return [rows for split, rows in splits.items() if source.split in (None, split)]


def _part(
    source: RawSource,
    part: Any,
    columns: Sequence[str],
    optional: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """The wanted columns of one file or split, under the names that the dataset uses."""
    header = not any(isinstance(name, int) for name in source.columns.values())
    called: dict[str, Any] = {}

    def choose(present: list[Any]) -> list[Any]:
        for name in (*columns, *optional):
            given = source.columns.get(name)
            column = given if given is not None else _match((name, *aliases.get(name, ())), present)
            if column in present:
                called[name] = column
        if missing := [name for name in dict.fromkeys((*columns, *source.columns)) if name not in called]:
            raise DataError(
                f"raw={source.path!r} lacks the columns {missing}: it has {present}; say which they are with "
                f"raw.columns, such as {{{missing[0]}: {present[0]!r}}}"
            )
        return list(dict.fromkeys(called.values()))

    if isinstance(part, Path):
        rows, left_out = read_rows(part, choose, source.encoding, source.separator, header)
        if left_out > max(10, len(rows) // 100):
            raise DataError(
                f"raw={source.path!r}: {left_out} lines of {part.name} are malformed and {len(rows)} are not: check "
                "its separator and quoting"
            )
        if left_out:
            log.warning("raw=%r: %d malformed lines of %s are left out", source.path, left_out, part.name)
    else:
        rows = part.select_columns(choose(part.column_names)).with_format("arrow")[:].to_pandas()
    return pd.DataFrame({name: rows[column] for name, column in called.items()})


def _match(names: Sequence[str], present: Sequence[Any]) -> str | None:
    """The first of the names that is present, whatever its case."""
    folded = {str(column).strip().casefold(): column for column in reversed(present)}
    exact = next((name for name in names if name in present), None)
    return exact or next((folded[name.casefold()] for name in names if name.casefold() in folded), None)


def _texts(column: pd.Series) -> pd.Series:
    """Text, without what is around it."""
    missing = column.isna()
    return column.astype(object).where(~missing, "").astype(str).str.strip()


def _numbers(source: RawSource, name: str, column: pd.Series) -> pd.Series:
    """Numbers; what is empty is NaN, and what is neither is an error."""
    values = column
    if not pd.api.types.is_numeric_dtype(column):
        values = _texts(column).replace("", np.nan)
    parsed = pd.to_numeric(values, errors="coerce").astype(float)
    if (bad := parsed.isna() & values.notna()).any():
        example = values[bad].iloc[0]
        raise DataError(
            f"raw={source.path!r}: {int(bad.sum())} values of column {name!r} are not numbers, such as {example!r}"
        )
    if np.isinf(parsed).any():
        raise DataError(f"raw={source.path!r}: column {name!r} has infinite values")
    return parsed
