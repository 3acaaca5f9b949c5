"""The columns of records, as tables and as values for templates."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from madkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

LABELS = ("label", "alice_label", "bob_label")
#: The columns that records must have.
REQUIRED = ("id", "template_args", "character", *LABELS, "difficulty")
#: All columns of a record; whatever else a table without `template_args` has is a value for the templates.
ALL_COLUMNS = (*REQUIRED, "name", "difficulty_quantile", "split")


def arrow_table(dataset: Dataset) -> pa.Table:
    """The rows of a split as an Arrow table."""
    return dataset.with_format("arrow")[:]


def flat_frame(dataset: Dataset) -> pd.DataFrame:
    """The columns of a split as a table, but for `template_args`, whose rows would be slow to make."""
    table = arrow_table(dataset)
    return table.drop_columns([c for c in ("template_args",) if c in table.column_names]).to_pandas()


def template_args(
    dataset: Dataset, rows: np.ndarray, constants: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The values that templates show, of some rows of a split.

    Raises:
        DataError: A value is missing, or is no text and no number.
    """
    values = arrow_table(dataset)["template_args"].take(rows).to_pylist()
    for args in values:
        if args is None or any(value is None for value in args.values()):
            raise DataError(
                f"column 'template_args' has a row with a missing value: {args}; fill it in or drop the row"
            )
        if lost := [name for name, value in args.items() if isinstance(value, float) and not math.isfinite(value)]:
            raise DataError(
                f"field {lost[0]!r} of 'template_args' holds {args[lost[0]]}, which is no number to show: fill it in "
                "or drop the row"
            )
        if inner := [name for name, value in args.items() if isinstance(value, list | dict)]:
            held = type(args[inner[0]]).__name__
            raise DataError(
                f"field {inner[0]!r} of 'template_args' holds a {held}, {args[inner[0]]}: give text or a number"
            )
    return [{**(constants or {}), **args} for args in values]


def question_of(args: Mapping[str, Any]) -> str:
    """The question without its speaker: the values that the templates show, but for the character.

    Example:
        >>> question_of({"op1": 1, "character": "Bob"}) == question_of({"character": "Alice", "op1": 1})
        True
    """
    return json.dumps({k: v for k, v in args.items() if k not in ("character", "name")}, sort_keys=True, default=str)


def statement_id(args: Mapping[str, Any]) -> str:
    """A short name of the question: prompts that ask the same under other names and in other words share it.

    It is made of the values that the templates show, as they stand in the record: no prompt is read.

    Example:
        >>> statement_id({"op1": 1, "character": "Bob"}) == statement_id({"character": "Alice", "op1": 1})
        True
    """
    return hashlib.blake2b(question_of(args).encode(), digest_size=8).hexdigest()


def as_numbers(labels: pd.Series) -> pd.Series:
    """Labels as 0 and 1, also of words such as "true" and "no"; NaN for what is none.

    Example:
        >>> as_numbers(pd.Series(["True", "no", "maybe"])).tolist()
        [1.0, 0.0, nan]
    """
    if not pd.api.types.is_numeric_dtype(labels) and not pd.api.types.is_bool_dtype(labels):
        labels = labels.map(lambda value: _WORDS.get(str(value).strip().lower(), value))
    return pd.to_numeric(labels, errors="coerce").astype(float)


_WORDS = {"true": 1, "yes": 1, "false": 0, "no": 0}
