"""Records that are sound one by one and contradict one another, or say too little together."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn

from madkit.data.records.columns import LABELS, arrow_table, flat_frame
from madkit.errors import DataError

if TYPE_CHECKING:
    from datasets import DatasetDict

#: Below this share of questions on which truth and quirk differ, a model learns no quirk and a test has few anomalies.
FEWEST_DIFFERENT = 0.02
#: Above these shares of questions with several answers, or in another split too, something is wrong with the records
#: and not with a few of them.
_MOST_CONTRADICTIONS, _MOST_SHARED = 0.01, 0.05
_NOT_OF_THE_QUESTION = ("name", "character")


def find_inconsistencies(records: DatasetDict, fields: Collection[str] | None = None) -> list[str]:
    """What is wrong with the questions of records, a line each.

    Args:
        records: Splits with `template_args`, and where they are labelled, with the columns of labels.
        fields: What the templates show; two questions that differ in nothing of it are the same. None for all that
            records hold.
    """
    table = _questions(records, fields)
    if table.empty:
        return []
    found = {column: _contradictions(table, column) for column in LABELS[1:]}
    lines = [_line(table, column, questions) for column, questions in found.items() if questions]
    return [*lines, *_shared(table), *_few_different(table), *_of_one_difficulty(table), *_repeated(table)]


def report_inconsistencies(records: DatasetDict, fields: Collection[str] | None = None) -> None:
    """Warn of what `find_inconsistencies` finds, or refuse the records.

    Args:
        records: Checked records.
        fields: As there.

    Raises:
        DataError: More than one in a hundred questions has two truths, or two quirks; more than one in twenty is in
            another split too; or truth and quirk hardly differ.
    """
    table = _questions(records, fields)
    if table.empty:
        return
    for column in LABELS[1:]:
        contradictions = _contradictions(table, column)
        if len(contradictions) > _MOST_CONTRADICTIONS * table["question"].nunique():
            raise DataError(_line(table, column, contradictions))
    for line in (*_shared(table, _MOST_SHARED), *_few_different(table)):
        raise DataError(line)
    for line in find_inconsistencies(records, fields):
        rank_zero_warn(line)


def _questions(records: DatasetDict, fields: Collection[str] | None) -> pd.DataFrame:
    """A row for each record of all splits: its `question` in a text, its split and its other columns."""
    import pyarrow as pa

    frames = []
    for split, dataset in records.items():
        if "template_args" not in dataset.column_names or not len(dataset):
            continue
        column = arrow_table(dataset)["template_args"].combine_chunks()
        if not pa.types.is_struct(column.type):
            continue
        shown = [name for name in sorted(field.name for field in column.type) if name not in _NOT_OF_THE_QUESTION]
        shown = [name for name in shown if fields is None or name in fields] or shown
        # As templates show them: 7 and "7" are the same question.
        values = [map(str, column.field(name).to_pylist()) for name in shown]
        rows = zip(*values, strict=True)
        texts = [", ".join(f"{name}={value}" for name, value in zip(shown, row, strict=True)) for row in rows]
        frames.append(flat_frame(dataset).assign(split=split, question=texts or ""))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _contradictions(table: pd.DataFrame, column: str) -> list[str]:
    """Questions with different labels in a column."""
    if column not in table:
        return []
    answers = table.groupby("question", sort=False)[column].nunique()
    return answers.index[answers > 1].tolist()


def _line(table: pd.DataFrame, column: str, questions: list[str]) -> str:
    return (
        f"{len(questions)} of {table['question'].nunique()} questions have two answers, as {column!r} is true in one "
        f"record and false in another, such as {_example(questions)}: mend the labels, or show what tells them apart"
    )


def _shared(table: pd.DataFrame, most: float = 0.0) -> list[str]:
    """Pairs of splits that have more than a share of the smaller one's questions in common."""
    sets = {split: set(part["question"]) for split, part in table.groupby("split", sort=False)}
    splits = list(sets)
    lines = []
    for i, first in enumerate(splits):
        for second in splits[i + 1 :]:
            common = sets[first] & sets[second]
            if len(common) > most * min(len(sets[first]), len(sets[second])):
                lines.append(
                    f"{len(common)} questions are in the splits {first!r} and {second!r}, such as {_example(common)}: "
                    "leave them out of one of the two"
                )
    return lines


def _few_different(table: pd.DataFrame) -> list[str]:
    if not set(LABELS[1:]) <= set(table):
        return []
    lines = []
    for split, part in table.groupby("split", sort=False):
        different = part["alice_label"] != part["bob_label"]
        if 0 < different.mean() < FEWEST_DIFFERENT:
            lines.append(
                f"split {split!r}: truth and quirk differ in {different.mean():.1%} of {len(part)} records only, so "
                "there is next to no quirk to learn and to find: add questions on which they differ"
            )
        elif not different.any():
            lines.append(
                f"split {split!r}: truth and quirk never differ, so there is no quirk to learn: add questions on "
                "which they differ"
            )
    return lines


def _of_one_difficulty(table: pd.DataFrame) -> list[str]:
    if "difficulty" not in table or table["difficulty"].nunique() != 1:
        return []
    return [
        f"column 'difficulty' is {table['difficulty'].iloc[0]} in all {len(table)} records: give the same number to "
        "questions that are equally hard only, as trusted prompts are easy ones and test prompts hard ones"
    ]


def _repeated(table: pd.DataFrame) -> list[str]:
    repeated = repeated_ids(table)
    # Where most ids are repeated, `find_problems` says so.
    if not 0 < repeated <= len(table) / 2:
        return []
    return [f"{repeated} ids occur again, and records of one id share their name and template"]


def repeated_ids(table: pd.DataFrame) -> int:
    """How many records have the id of an earlier one of the same character."""
    columns = [column for column in ("id", "character") if column in table]
    return int(table.duplicated(columns).sum()) if "id" in columns else 0


def _example(questions: Collection[str]) -> str:
    return repr(min(questions)[:100])
