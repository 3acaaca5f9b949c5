"""Incomplete records are completed: a row for each character, labels, ids and splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from madkit.data.prompts.characters import CHARACTERS
from madkit.data.records.columns import ALL_COLUMNS, arrow_table, as_numbers, question_of
from madkit.errors import DataError
from madkit.statistics.hashing import stable_hash

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

#: The share of the questions that validate, where the source has no splits.
VALIDATION_SHARE = 0.25
_LABEL_OF = {"Alice": "alice_label", "Bob": "bob_label"}


def complete(splits: Mapping[str, Dataset]) -> DatasetDict:
    """Make full records of what a user's file, or a published set, holds.

    - Without `template_args`, all columns that are not those of a record become its fields.
    - Without `character`, a row is a question: it becomes two records, whose labels are `alice_label` and `bob_label`.
    - With `character` and `label` alone, `alice_label` and `bob_label` come from the question's two records.
    - Without `id`, it is a hash of question and character.
    - A single split is divided by a hash of the question: three quarters train, one quarter validates. Which one a
      question belongs to does not depend on the others.

    Raises:
        DataError: The rows are finished prompts, hold no labels, or a question lacks one of its characters.
    """
    from datasets import DatasetDict

    completed = {split: _complete(split, dataset) for split, dataset in splits.items()}
    if list(completed) == ["train"]:
        completed = _divide(completed["train"])
    return DatasetDict(completed)


def _complete(split: str, dataset: Dataset) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    present = dataset.column_names
    if "template_args" not in present and {"statement", "choices"} <= set(present):
        raise DataError(
            f"split {split!r} holds finished prompts (statement, choices), whose names and wording are fixed: "
            "use the records they were made of, such as EleutherAI/quirky_sciq_raw for EleutherAI/quirky_sciq"
        )
    if {"template_args", "id", "character", "label", "alice_label", "bob_label"} <= set(present):
        return dataset
    table = arrow_table(dataset)
    fields = [column for column in present if column not in ALL_COLUMNS]
    args = table["template_args"].to_pylist() if "template_args" in present else table.select(fields).to_pylist()
    if not all(isinstance(value, dict) for value in args) or not any(args):
        raise DataError(
            f'split {split!r} has no template_args: give a column of objects, such as {{"question": "..."}}, or a '
            f"column for each field of the template; it has {present}"
        )
    frame = table.drop_columns([c for c in ("template_args", *fields) if c in present]).to_pandas()
    frame["template_args"] = pd.Series(args, index=frame.index, dtype=object)
    labels = [column for column in ("label", *_LABEL_OF.values()) if column in frame]
    numbers = frame[labels].apply(as_numbers)
    # What is no label stays as it is, for the check to show.
    strange = (numbers.isna() & frame[labels].notna()).any(axis=None)
    frame[labels] = frame[labels].astype(str) if strange else numbers
    frame["question"] = [question_of(value) for value in args]
    frame = _both_characters(split, frame) if "character" not in frame else frame
    frame = _labels(split, frame)
    if "id" not in frame:
        frame["id"] = _ids(frame["question"], frame["character"])
    values = [
        {**{k: v for k, v in value.items() if k != "character"}, "character": character}
        for value, character in zip(frame["template_args"], frame["character"], strict=True)
    ]
    plain = pa.Table.from_pandas(frame.drop(columns=["template_args", "question"]), preserve_index=False)
    return Dataset(plain.append_column("template_args", pa.array(values)))


def _both_characters(split: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A row of every question for each of the characters."""
    if missing := [column for column in _LABEL_OF.values() if column not in frame]:
        raise DataError(
            f"split {split!r} has one row for each question, as it has no column 'character'; then it lacks the "
            f"columns {missing}: what Alice (the truth) and Bob (the quirk) say; it has {_columns(frame)}"
        )
    twice = frame.loc[frame.index.repeat(2)].reset_index(drop=True)
    bob = np.tile([False, True], len(frame))
    twice["character"] = np.array(CHARACTERS, dtype=object)[bob.astype(int)]
    twice["label"] = twice["bob_label"].where(bob, twice["alice_label"])
    if "id" in twice:
        twice["id"] = twice["id"].astype(str) + np.where(bob, "-bob", "-alice")
    return twice


def _labels(split: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Fill in the labels that follow from the others."""
    missing = [column for column in _LABEL_OF.values() if column not in frame]
    if missing and "label" not in frame:
        raise DataError(
            f"split {split!r} lacks the columns {missing}: what Alice (the truth) and Bob (the quirk) say; it has "
            f"{_columns(frame)}"
        )
    for column in missing:
        character = next(name for name, label in _LABEL_OF.items() if label == column)
        answers = frame[frame["character"] == character].drop_duplicates("question").set_index("question")["label"]
        frame[column] = frame["question"].map(answers)
        if lacking := int(frame[column].isna().sum()):
            raise DataError(
                f"split {split!r} lacks the column {column!r}, and {lacking} of its rows are about questions without a "
                f"record of {character}: add the column, or a record of both characters for every question"
            )
    if "label" not in frame:
        frame["label"] = frame["bob_label"].where(frame["character"] == "Bob", frame["alice_label"])
    return frame


def _columns(frame: pd.DataFrame) -> list[str]:
    """The columns of the file that a frame is of."""
    first = frame["template_args"].iloc[0]
    return [*first, *(column for column in frame.columns if column not in ("template_args", "question"))]


def _ids(questions: pd.Series, characters: pd.Series) -> list[str]:
    seen: Counter[str] = Counter()
    ids = []
    for question, character in zip(questions, characters, strict=True):
        key = f"{question}:{character}"
        ids.append(hashlib.blake2b(f"{key}:{seen[key]}".encode(), digest_size=8).hexdigest())
        seen[key] += 1
    return ids


def _divide(dataset: Dataset) -> dict[str, Dataset]:
    from datasets import Dataset

    table = arrow_table(dataset)
    questions = [question_of(args or {}) for args in table["template_args"].to_pylist()]
    u = stable_hash(questions, "split") / np.float64(2**64)
    validates = u < VALIDATION_SHARE
    parts = {"train": np.flatnonzero(~validates), "validation": np.flatnonzero(validates)}
    return {split: Dataset(table.take(rows)) for split, rows in parts.items() if len(rows)}
