"""Prompts as users have them: in a list, a table, a file, a dataset of the hub; texts, or messages of a chat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from madkit.data.tables.files import SUFFIXES, read_rows, suffix_of
from madkit.data.tables.raw_source import RawSource, table_parts
from madkit.data.tables.text_files import read_text
from madkit.errors import ConfigError, DataError

#: The columns that may hold prompts, the first that is there.
COLUMNS = ("prompt", "messages")
#: A text, or the messages of a chat.
Prompt = str | list[dict[str, str]]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?$")


def read_prompts(
    source: Any, argument: str = "prompts", column: str | None = None, split: str | None = None
) -> list[Prompt]:
    """Prompts, as texts or as messages, in their order.

    Args:
        source: a list of texts; a list of chats, each a list of messages ``{"role": ..., "content": ...}``; a frame or
            a dataset with a column ``prompt`` or ``messages``; the path of a file (``.txt``, a prompt a line; JSONL,
            CSV, TSV, JSON or parquet, also compressed), of a folder of such files or of one that ``save_to_disk``
            wrote; or the name of a dataset of the hub.
        argument: what the user calls it, for messages.
        column: where the prompts are; None for ``prompt``, or ``messages``.
        split: of a dataset with several; None for all of them.

    Raises:
        ConfigError: there is no such file, dataset, split or column.
        DataError: a prompt is empty, is no prompt or is no text that UTF-8 can write; or there is none.
    """
    if isinstance(source, str | Path):
        found = _from_path(str(source), argument, column, split)
    elif isinstance(source, pd.DataFrame):
        found = _column_of(source, f"{argument} (a frame)", column)
    elif hasattr(source, "column_names") or isinstance(source, Mapping):
        found = _from_dataset(source, argument, column, split)
    elif isinstance(source, Sequence | np.ndarray | pd.Series):
        found = list(source)
    else:
        raise ConfigError(f"{argument} is of type {type(source).__name__}: give a list of texts, a table or a file")
    if not found:
        raise DataError(f"{argument} holds no prompts: give one or more")
    return [_checked(prompt, f"{argument}: number {number}") for number, prompt in enumerate(found, 1)]


def _from_path(source: str, argument: str, column: str | None, split: str | None) -> list[Any]:
    path = Path(source).expanduser()
    label = f"{argument}={source[:80]!r}"
    if path.is_file() and suffix_of(path) is None:
        if ".txt" not in path.suffixes[-2:]:
            raise ConfigError(f"{label}: the name must end in .txt or one of {', '.join(SUFFIXES)}")
        # Only what ends a line in a file does: a form feed may stand in a prompt.
        lines = read_text(path).replace("\r\n", "\n").split("\n")
        return [line for line in lines if line.strip()]
    raw = RawSource(source, split=split)
    if not raw.is_local and not _HUB_NAME.match(source):
        raise ConfigError(f"{label} is no file: give a list of prompts, the path of a file or the name of a dataset")
    if raw.is_local and not path.exists():
        raise ConfigError(f"{label} is not there: give a file (.txt, {', '.join(SUFFIXES)}), a folder or a list")
    found: list[Any] = []
    for part in table_parts(raw, argument):
        if isinstance(part, Path):
            frame, left_out = read_rows(part, lambda present: [_choose(present, label, column)])
            if left_out:
                raise DataError(f"{label}: {left_out} lines of {part.name} are malformed: check its quoting")
            found += frame.iloc[:, 0].tolist()
        else:
            found += part[_choose(part.column_names, label, column)][:]
    return found


def _from_dataset(dataset: Any, argument: str, column: str | None, split: str | None) -> list[Any]:
    """The prompts of a dataset, or of one or all splits of several."""
    parts: dict[str, Any] = dict(dataset) if isinstance(dataset, Mapping) else {"": dataset}
    if split is not None and split not in parts:
        raise ConfigError(f"{argument} has no split {split!r}: it has {', '.join(parts) or 'none'}")
    chosen = [part for name, part in parts.items() if split in (None, name)]
    return [x for part in chosen for x in part[_choose(part.column_names, argument, column)][:]]


def _column_of(frame: pd.DataFrame, label: str, column: str | None) -> list[Any]:
    return frame[_choose(frame.columns.tolist(), label, column)].tolist()


def _choose(present: Sequence[Any], label: str, column: str | None) -> Any:
    name = next((name for name in ((column,) if column is not None else COLUMNS) if name in present), None)
    if name is None:
        wanted = repr(column) if column is not None else "`prompt` or `messages`"
        raise ConfigError(f"{label} has no column {wanted}: it has {list(map(str, present))[:8]}; name one as `column`")
    return name


def _checked(prompt: Any, label: str) -> Prompt:
    """A prompt of plain Python."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise DataError(f"{label} is empty: leave it out")
        return _written(prompt, label)
    if isinstance(prompt, np.ndarray):
        prompt = prompt.tolist()
    if not isinstance(prompt, list | tuple) or not prompt:
        raise DataError(f"{label} is {str(prompt)[:40]!r}, which is no prompt: give a text, or a list of messages")
    messages = []
    for message in prompt:
        if not isinstance(message, Mapping) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            raise DataError(
                f'{label} holds {str(message)[:60]!r}, which is no message: give {{"role": "user", "content": "..."}}, '
                "with text as its content"
            )
        messages.append({key: _written(message[key], f"{label}, {key},") for key in ("role", "content")})
    return messages


def _written(text: str, label: str) -> str:
    """A plain text that UTF-8 can write, as tokenizers have to: JSON may hold half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{label} holds {text[error.start]!r} at place {error.start}, half of a character that was cut: take it out"
        ) from None
    return str(text)
