"""Tables on disk: parquet files whose pages carry checksums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically


def write_parquet(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as parquet, with a checksum for each of its pages."""
    return write_atomically(path, lambda p: table.to_parquet(p, index=False, write_page_checksum=True))


def read_table(
    path: Path, way_out: str, columns: list[str] | None = None, rows: Sequence[Any] | None = None
) -> pd.DataFrame:
    """Read a table, comparing what is read with its checksums.

    Args:
        path: what `write_parquet` wrote.
        way_out: what makes the table again, for the message.
        columns: which columns; None for all.
        rows: conditions on rows, as triples of column, operator and value; None for all.

    Raises:
        StoreError: it is missing or damaged, or lacks one of the columns.
    """
    try:
        filters = list(rows) if rows else None
        return pd.read_parquet(path, columns=columns, filters=filters, page_checksum_verification=True)
    except FileNotFoundError:
        raise StoreError(f"{str(path)!r} is missing; {way_out}") from None
    except Exception as error:  # pyarrow raises many unrelated types
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"{str(path)!r} is damaged or cannot be read ({reason}); {way_out}") from error


def is_table(path: Path) -> bool:
    """Whether a whole table is there."""
    try:
        read_table(path, "")
    except StoreError:
        return False
    return True
