"""Rows of CSV, JSON and parquet files, also compressed ones."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import ParserError, ParserWarning

from madkit.errors import ConfigError, DataError

_TABLES = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*_TABLES, *_LINES, ".json", ".parquet")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def suffix_of(file: Path) -> str | None:
    """The suffix that says what a file holds, without that of its compression; None for other files.

    Example:
        >>> suffix_of(Path("books.CSV.gz")), suffix_of(Path("EleutherAI/quirky_sciq_raw"))
        ('.csv', None)
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def columns_of(file: Path) -> list[str]:
    """The names of a file's columns; those of its first row, if it is JSON.

    Raises:
        ConfigError: It cannot be opened.
        DataError: It is damaged.
    """
    suffix = suffix_of(file)
    if suffix == ".parquet":
        return _parquet_names(file)
    if suffix in _TABLES:
        return _read_csv(file, "utf-8", None, True, nrows=0).columns.to_list()
    rows = _read_json(file, "utf-8", limit=1)
    return rows.columns.to_list()


def read_rows(
    file: Path,
    choose: Callable[[list[Any]], list[Any]],
    encoding: str = "utf-8",
    separator: str | None = None,
    header: bool = True,
) -> tuple[pd.DataFrame, int]:
    """Some columns of a file, and how many malformed lines of it were left out.

    The values of a CSV file are text. Only an empty cell counts as missing: there are books called "None" and towns
    called "Nan".

    Args:
        file: What to read.
        choose: Given the names of all columns (their numbers, if there is no header), says which are wanted.
        encoding: Of a CSV or JSON file.
        separator: Of a CSV file; None for a comma, or a tabulator in `.tsv`.
        header: Whether the first line of a CSV file names the columns.

    Raises:
        ConfigError: It cannot be opened.
        DataError: It is damaged, or in another encoding.
    """
    suffix = suffix_of(file)
    if suffix == ".parquet":
        return pd.read_parquet(file, columns=choose(_parquet_names(file))), 0
    if suffix in _TABLES:
        wanted = choose(_read_csv(file, encoding, separator, header, nrows=0 if header else 1).columns.to_list())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ParserWarning)
            # All columns: when some are left out, pandas does not notice a line with too many of them.
            rows = _read_csv(file, encoding, separator, header)[wanted]
        return rows, sum(str(warning.message).count("Skipping line") for warning in caught)
    table = _read_json(file, encoding)
    return table[choose(table.columns.to_list())], 0


def _parquet_names(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pa.parquet.read_schema(file).names
    except pa.ArrowException as error:
        raise DataError(f"{str(file)!r} is not a complete parquet file: {_first_line(error)}") from None


def _read_csv(file: Path, encoding: str, separator: str | None, header: bool, **options: Any) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            file,
            sep=separator or _TABLES[suffix_of(file) or ".csv"],
            header=0 if header else None,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            # A byte-order mark would become part of the first column's name.
            encoding="utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding,
            on_bad_lines="warn",
            low_memory=False,
            **options,
        )
    except UnicodeError as error:
        raise _encoding_error(file, encoding, error) from None
    except LookupError:
        raise ConfigError(f"encoding={encoding!r} is not known: try utf-8, latin-1 or utf-16") from None
    except (ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{str(file)!r} is malformed: {_first_line(error)}; check its separator and quoting") from None
    except OSError as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error.strerror or error}") from None
    return table.rename(columns=str.strip) if header else table


def _read_json(file: Path, encoding: str, limit: int | None = None) -> pd.DataFrame:
    """The first rows of a file of one object a line, or of one list of objects."""
    import fsspec

    try:
        with fsspec.open(str(file), "rt", encoding=encoding, compression="infer") as stream:
            rows = list(itertools.islice(_objects(file, stream), limit))
    except UnicodeError as error:
        raise _encoding_error(file, encoding, error) from None
    except (OSError, EOFError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{str(file)!r} holds no rows: each must be an object, such as {{"title": "Emma"}}')
    # Later rows may have keys that the first one lacks.
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _objects(file: Path, stream: Any) -> Iterator[Any]:
    """The rows of a JSON file; one called `.json` may hold a list or, in spite of its name, lines."""
    first = next((line for line in stream if line.strip()), "")
    if suffix_of(file) == ".json" and first.lstrip()[0:1] == "[":
        yield from _parse(file, 1, first + stream.read())
        return
    for number, line in enumerate(itertools.chain([first], stream), 1):
        if line.strip():
            yield _parse(file, number, line)


def _parse(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(f"{str(file)!r} is malformed: line {number} is not JSON ({error})") from None


def _encoding_error(file: Path, encoding: str, error: UnicodeError) -> DataError:
    reason = getattr(error, "reason", error)
    return DataError(f"{str(file)!r} is not {encoding} ({reason}): set its encoding, such as latin-1 or utf-16")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
