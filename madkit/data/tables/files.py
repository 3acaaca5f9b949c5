"""Rows of CSV, JSON and parquet files, also compressed ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import ParserError, ParserWarning

from madkit.data.tables.json_rows import read_json_rows
from madkit.data.tables.text_files import (
    UNREADABLE,
    check_text,
    encoding_error,
    read_bytes,
    unknown_encoding,
    unreadable,
    without_mark,
)
from madkit.errors import DataError

_TABLES = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*_TABLES, *_LINES, ".json", ".parquet")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabulators", "|": "vertical bars"}
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
    return list(read_json_rows(file, limit=1)[0])


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
        if header:
            _check_names(file, encoding, separator, wanted)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ParserWarning)
            # All columns: when some are left out, pandas does not notice a line with too many of them.
            rows = _read_csv(file, encoding, separator, header)[wanted]
        told = [str(warning.message) for warning in caught]
        if any("Length of header" in message for message in told):
            raise DataError(
                f"{str(file)!r} has lines of more cells than its header names: give each column a name, also that "
                "of row numbers"
            )
        return rows, sum(message.count("Skipping line") for message in told)
    objects = read_json_rows(file, encoding)
    # Later rows may have keys that the first one lacks.
    names = dict.fromkeys(name for row in objects for name in row)
    table = pd.DataFrame({name: pd.Series([row.get(name) for row in objects], dtype=object) for name in names})
    return table[choose(table.columns.to_list())], 0


def _parquet_names(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pa.parquet.read_schema(file).names
    except pa.ArrowException as error:
        raise DataError(f"{str(file)!r} is not a complete parquet file: {_first_line(error)}") from None


def _read_csv(file: Path, encoding: str, separator: str | None, header: bool, **options: Any) -> pd.DataFrame:
    check_text(file, encoding)
    expected = separator or _TABLES[suffix_of(file) or ".csv"]
    try:
        table = pd.read_csv(
            file,
            sep=expected,
            header=0 if header else None,
            # Otherwise lines with one cell too many would lose their first one.
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            # A byte-order mark would become part of the first column's name.
            encoding=without_mark(encoding),
            on_bad_lines="warn",
            low_memory=False,
            **options,
        )
    except UnicodeError as error:
        raise encoding_error(file, encoding, read_bytes(file), error) from None
    except LookupError:
        raise unknown_encoding(encoding) from None
    except (ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{str(file)!r} is malformed: {_first_line(error)}; check its separator and quoting") from None
    except UNREADABLE as error:
        raise unreadable(file, error) from None
    except ValueError as error:  # several files in one archive
        raise DataError(f"{str(file)!r} cannot be read: {_first_line(error)}") from None
    if not header:
        return table
    table = table.rename(columns=str.strip)
    if separator is None and len(table.columns) == 1:
        _check_separator(file, str(table.columns[0]), expected)
    return table


def _check_separator(file: Path, header: str, expected: str) -> None:
    found = max((other for other in _SEPARATORS if other != expected), key=header.count)
    if found in header:
        raise DataError(
            f"{str(file)!r} has one column, {header[:80]!r}: its cells seem to be separated by {_SEPARATORS[found]}, "
            f"not by {_SEPARATORS[expected]}; write it with {_SEPARATORS[expected]}"
            + (", or call it .tsv" if found == "\t" else "")
            + "; of a raw table you can also set its separator"
        )


def _check_names(file: Path, encoding: str, separator: str | None, wanted: list[Any]) -> None:
    """Refuse columns of one name, of which pandas renames the second."""
    first = _read_csv(file, encoding, separator, False, nrows=1).iloc[0]
    names = [str(name).strip() for name in first if isinstance(name, str)]
    if twice := sorted({name for name in names if names.count(name) > 1 and name in wanted}):
        raise DataError(f"{str(file)!r} has the columns {twice} more than once: rename or drop one of each")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
