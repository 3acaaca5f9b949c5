"""The table of a store's prompts: which columns it has, what each holds, and what stands where nothing is known."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.arrays import bool_array, float_array
from madkit.errors import DataError

#: What prompts are for: detectors learn from the first two and are measured on the others. Distractors are unusual and
#: normal.
SPLITS = ("trusted", "untrusted", "calibration", "test", "distractor")


class Column(NamedTuple):
    """A column of the table."""

    name: str
    """Its name."""
    kind: str
    """``text``, ``number``, ``boolean``, ``split`` or ``any`` value that can be told from others."""
    needed: str
    """``always``, for ``test`` prompts, or ``no``."""
    meaning: str
    """What it says."""
    unknown: str = ""
    """What an import puts there when a table does not have the column; empty where nothing can stand for it."""


COLUMNS = (
    Column("split", "split", "always", f"what the prompt is for: {', '.join(SPLITS)}"),
    Column("anomalous", "boolean", "test", "whether a detector should find the prompt; no detector is told"),
    Column("id", "any", "test", "the user's name for the prompt", "its position in the table"),
    Column(
        "statement",
        "any",
        "test",
        "equal for prompts that are not independent, such as rewordings of one question: intervals know it",
        "each prompt is its own",
    ),
    Column("name", "text", "test", "who speaks; with four names of each kind intervals know them too", "nobody"),
    Column(
        "character", "text", "test", "Alice for normal and Bob for anomalous prompts, as figures call them", "the same"
    ),
    Column("prompt", "text", "test", "the text, which the report shows", "empty"),
    Column("distractor", "text", "no", "of prompts of the split `distractor`: what makes it unusual", "`other`"),
    Column("difficulty", "number", "test", "how hard the prompt is", "NaN"),
    Column("difficulty_quantile", "number", "test", "the rank of its difficulty, 0 to 1", "NaN"),
    Column("alice_label", "boolean", "no", "whether Yes is the true answer"),
    Column("bob_label", "boolean", "no", "whether Yes is what the quirk answers; beside `alice_label`"),
    Column(
        "label",
        "boolean",
        "no",
        "whether Yes is right for who speaks",
        "`bob_label` of anomalous prompts, else `alice_label`",
    ),
)
_BY_NAME = {column.name: column for column in COLUMNS}
#: Columns that go together: with one of them missing, it is not known what is right to answer.
LABELS = ("alice_label", "bob_label")


def check_prompt_rows(rows: pd.DataFrame) -> None:
    """Check a table of prompts before anything is written beside it.

    Args:
        rows: the prompts in row order, with a column ``row``. Other columns than those of `COLUMNS` are kept and play
            no part.

    Raises:
        DataError: columns are missing, or hold what they cannot hold. One line names all that are missing.

    Example:
        >>> check_prompt_rows(pd.DataFrame({"row": [0, 1], "split": ["trusted", "testing"]}))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        madkit.errors.DataError: rows['split'] holds ['testing']: give one of ...
    """
    if missing := [name for name in ("row", "split") if name not in rows]:
        raise DataError(f"rows lack {' and '.join(missing)}: give each prompt its number, and its split")
    if not np.array_equal(rows["row"].to_numpy(), np.arange(len(rows))):
        raise DataError(f"rows['row'] is not 0 to {len(rows) - 1} in order: number the prompts as they stand")
    strange = [value for value in pd.unique(rows["split"]) if value not in SPLITS]
    if strange:
        raise DataError(f"rows['split'] holds {strange[:3]}: give one of {', '.join(SPLITS)}")
    if "distractor" not in rows and (rows["split"] == "distractor").any():
        raise DataError("rows lack distractor, which distractors need: say of each of these prompts what kind it is")
    test = rows[rows["split"] == "test"]
    needed = [column.name for column in COLUMNS if column.needed == "test"]
    if len(test) and (missing := [name for name in needed if name not in rows]):
        raise DataError(
            f"rows lack {', '.join(missing)}, which test prompts need: complete_prompt_rows(rows) fills "
            f"{'all but anomalous' if 'anomalous' in missing else 'them'}; docs/activations.md says what each holds"
        )
    for name in [name for name in rows if name in _BY_NAME]:
        _check_column(test[name], _BY_NAME[name])
    distractors = rows[rows["split"] == "distractor"]
    for name in [name for name in ("statement", "name") if name in rows]:  # the intervals of their alarms know them
        if absent := int(distractors[name].isna().sum()):
            raise DataError(f"rows['{name}'] is missing for {absent} of {len(distractors)} distractors: fill it")


def complete_prompt_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """A table of prompts with all columns of `COLUMNS` that can stand for nothing known, and in order.

    Args:
        rows: has ``split`` and, where there are test prompts, ``anomalous``; what else is there is kept.

    Returns:
        A copy with the column ``row``, 0 to n - 1.

    Raises:
        DataError: as `check_prompt_rows`.

    Example:
        >>> rows = complete_prompt_rows(pd.DataFrame({"split": ["test", "test"], "anomalous": [0, 1]}))
        >>> rows[["row", "statement", "character"]].to_numpy().tolist()
        [[0, 0, 'Alice'], [1, 1, 'Bob']]
    """
    rows = rows.reset_index(drop=True)
    rows["row"] = np.arange(len(rows))
    unusual = rows["split"] == "distractor" if "split" in rows else pd.Series(False, index=rows.index)
    if unusual.any() and "distractor" not in rows:
        rows["distractor"] = np.where(unusual, "other", "")
    if "split" in rows and (rows["split"] == "test").any():
        if "anomalous" not in rows:
            raise DataError("rows lack anomalous, which test prompts need: say of each whether it should be found")
        test = rows["split"] == "test"
        rows["anomalous"] = _of_test(rows, test, "anomalous")
        defaults: dict[str, Any] = {
            "id": rows["row"],
            "statement": rows["row"],
            "name": "",
            "character": np.where(rows["anomalous"], "Bob", "Alice"),
            "prompt": "",
            "difficulty": np.nan,
            "difficulty_quantile": np.nan,
        }
        rows = rows.assign(**{name: value for name, value in defaults.items() if name not in rows})
        for name in ("difficulty", "difficulty_quantile"):
            rows[name] = _numbers(rows[name])
        if answers_known(rows[test]):
            given = "label" in rows
            for name in (*LABELS, "label") if given else LABELS:
                rows[name] = _of_test(rows, test | unusual | rows[name].notna(), name)
            if not given:
                rows["label"] = np.where(rows["anomalous"], rows["bob_label"], rows["alice_label"])
    check_prompt_rows(rows)
    return rows


def answers_known(rows: pd.DataFrame) -> bool:
    """Whether the table says what is right to answer to each prompt."""
    return all(name in rows and bool(rows[name].notna().all()) for name in LABELS)


def _of_test(rows: pd.DataFrame, test: pd.Series, name: str) -> NDArray[np.bool_]:
    """A column of booleans, of which those of some prompts count, such as the test prompts; the others are False."""
    values = np.zeros(len(rows), dtype=bool)
    values[test.to_numpy()] = bool_array(rows.loc[test, name], f"rows['{name}']")
    return values


def _numbers(values: pd.Series) -> pd.Series:
    """Numbers, also of the cells of a CSV file, which are text."""
    try:
        return pd.to_numeric(values).astype(float)
    except (ValueError, TypeError) as error:
        raise DataError(f"rows['{values.name}'] holds what is no number ({error}): give numbers") from None


def _check_column(values: pd.Series, column: Column) -> None:
    """Check the values of the test prompts."""
    name = f"rows['{column.name}']"
    if column.kind == "boolean":
        bool_array(values, name)
    elif column.kind == "number":
        float_array(values, name)
    elif missing := int(values.isna().sum()):
        raise DataError(f"{name} is missing for {missing} of {len(values)} test prompts: fill it, or leave it out")
    elif column.name == "character" and (strange := sorted(set(values) - {"Alice", "Bob"}, key=str)):
        raise DataError(f"{name} holds {strange[:3]}: give Alice and Bob, or leave the column out")
