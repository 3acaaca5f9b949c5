"""Rows of JSON files, with all digits of their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from madkit.data.tables.text_files import read_text
from madkit.errors import DataError

_LARGEST = 2**63
_KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class Digits(str):
    """A number as it is written, because neither int64 nor float64 holds it."""

    __slots__ = ()


def read_json_rows(file: Path, encoding: str = "utf-8", limit: int | None = None) -> list[dict[str, Any]]:
    """The objects of a file that holds one a line, or a list of them.

    Numbers that no 64 bits hold come as `Digits`.

    Args:
        file: What to read.
        encoding: Of the file.
        limit: How many are enough.

    Raises:
        ConfigError: It cannot be opened.
        DataError: It is in another encoding, is no JSON, or holds something else.
    """
    text = read_text(file, encoding)
    if not text.strip():
        raise DataError(f"{str(file)!r} is empty: it needs an object a line, or a list of objects")
    rows: list[dict[str, Any]] = []
    for number, row in _values(file, text):
        if not isinstance(row, dict):
            what = _KINDS.get(type(row), type(row).__name__)
            raise DataError(
                f'{str(file)!r} holds no rows: each must be an object, such as {{"title": "Emma"}}, and {number} is '
                f"{what}"
            )
        rows.append(row)
        if limit is not None and len(rows) >= limit:
            break
    if not rows:
        raise DataError(f"{str(file)!r} holds no rows: its list is empty")
    return rows


def _values(file: Path, text: str) -> Iterator[tuple[str, Any]]:
    """What stands in a file, and where."""
    if text.lstrip()[0] == "[" and (whole := _whole(text)) is not None:
        yield from ((f"item {number}", item) for number, item in enumerate(whole, 1))
        return
    lines = text.split("\n")
    filled = [number for number, line in enumerate(lines, 1) if line.strip()]
    for number in filled:
        try:
            value = _parse(lines[number - 1])
        except (ValueError, RecursionError) as error:
            if number == filled[0] and isinstance(whole := _whole(text), dict):
                raise _wrapped(file, whole) from None
            cut = number == filled[-1] and number > filled[0] and not text.endswith("\n")
            hint = "the file ends within it: make or copy it again" if cut else "write an object a line, or a list"
            raise DataError(f"{str(file)!r} is malformed: line {number} is not JSON ({error}): {hint}") from None
        # Whole tables are written as an object of rows, or of columns.
        if len(filled) == 1 and isinstance(value, dict) and value and _holds_rows(value):
            raise _wrapped(file, value)
        yield f"line {number}", value


def _whole(text: str) -> Any:
    try:
        return _parse(text)
    except (ValueError, RecursionError):
        return None


def _wrapped(file: Path, value: dict[str, Any]) -> DataError:
    """What to raise where the rows are inside an object."""
    inside = next((key for key, item in value.items() if _is_rows(item)), None)
    if inside is None:
        return DataError(
            f"{str(file)!r} is a single object with the keys {list(value)[:5]}: write an object for each row, one a "
            "line, or a list of them"
        )
    return DataError(
        f"{str(file)!r} is a single object whose {inside!r} is a list of {len(value[inside])} rows (its keys are "
        f"{list(value)[:5]}): write that list alone, or its objects one a line"
    )


def _holds_rows(value: dict[str, Any]) -> bool:
    items = value.values()
    return any(map(_is_rows, items)) or all(isinstance(item, list | dict) for item in items)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in an object")
    return row


def _integer(text: str) -> int | Digits:
    if len(text) < 19:
        return int(text)
    return int(text) if len(text) < 21 and -_LARGEST <= int(text) < _LARGEST else Digits(text)


def _float(text: str) -> float | Digits:
    value = float(text)
    if len(text) < 16 and "e" not in text and "E" not in text:
        return value
    try:
        # The shortest number that reads as this float64 is what a prompt would show.
        return value if Decimal(text) == Decimal(repr(value)) else Digits(text)
    except ArithmeticError:  # an exponent of twenty digits
        return Digits(text)
