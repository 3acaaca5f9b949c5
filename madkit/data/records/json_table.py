"""Rows of JSON become a table whose columns have one type each, and lose no digit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from madkit.data.records.columns import ALL_COLUMNS
from madkit.data.tables.json_rows import Digits
from madkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def json_table(rows: Sequence[Mapping[str, Any]], source: str) -> pa.Table:
    """A table of rows as `read_json_rows` returns them.

    Of the values that templates show, whole numbers beyond 64 bits, numbers with more digits than float64 has, and
    numbers that are partly whole and partly not become text, so that prompts show what the file says.

    Args:
        rows: At least one; a key that a row lacks is null.
        source: What to call them in messages.

    Raises:
        DataError: A column mixes text, numbers and objects; a number in a list has too many digits; or a value that
            templates show is NaN or infinite.
    """
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    has_args = "template_args" in names
    whole = has_args and all(isinstance(row.get("template_args"), dict) for row in rows)
    arrays = []
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            if name == "template_args" and whole:
                arrays.append(_objects(values, source))
            elif has_args and name not in ALL_COLUMNS:  # nobody reads it
                arrays.append(pa.array([None if value is None else str(value) for value in values]))
            else:
                arrays.append(pa.array(_column(values, name, source, shown=name not in ALL_COLUMNS)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            reason = str(error).partition("\n")[0]
            raise DataError(f"{source}: column {name!r} holds values of several types ({reason}): use one") from None
    return pa.table(dict(zip(names, arrays, strict=True)))


def _objects(values: list[Any], source: str) -> pa.Array:
    """The column of the values that templates show, each key with a type of its own."""
    import pyarrow as pa

    keys = list(dict.fromkeys(key for value in values for key in value))
    columns = [_column([value.get(key) for value in values], f"template_args.{key}", source, True) for key in keys]
    return pa.array([dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)] if keys else values)


def _column(values: list[Any], name: str, source: str, shown: bool) -> list[Any]:
    kinds = {_kind(value) for value in values} - {"null"}
    if shown and "nan" in kinds:
        raise DataError(f"{source}: column {name!r} has NaN or infinite values, and templates show it: leave it out")
    kinds = {"float" if kind == "nan" else kind for kind in kinds}
    if kinds & {"nested"}:
        _check_nested(values, name, source)
        return values
    if "text" in kinds and shown and len(kinds) > 1:
        raise DataError(f"{source} is malformed: {name.replace('.', '/')} holds text and {sorted(kinds - {'text'})}")
    if kinds <= {"digits", "float", "int"} and not shown and name != "id":
        return [float(value) if isinstance(value, Digits) else value for value in values]
    if kinds & {"digits"} or len(kinds) > 1:
        return [None if value is None else str(value) for value in values]
    return values


def _kind(value: Any) -> str:
    if isinstance(value, Digits):
        return "digits"
    if isinstance(value, float):
        return "float" if math.isfinite(value) else "nan"
    if isinstance(value, dict | list):
        return "nested"
    return {type(None): "null", str: "text", bool: "bool", int: "int"}[type(value)]


def _check_nested(value: Any, name: str, source: str) -> None:
    if isinstance(value, Digits):
        raise DataError(
            f"{source}: column {name!r} holds the number {str(value)[:60]} within a list or an object, which 64 bits "
            "do not hold: write it in quotes"
        )
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_nested(item, name, source)
