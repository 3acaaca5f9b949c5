"""What the columns of well-known tables say: labels as truth values, texts by their number of words."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from madkit.errors import DataError


def truth_of(
    column: pd.Series, true: Collection[str], false: Collection[str], neither: Collection[str] = ()
) -> pd.Series:
    """Read a column of labels: numbers, words or truth values.

    Args:
        column: n labels of any type.
        true: What stands for true, in lower case; numbers as words, such as "1".
        false: What stands for false.
        neither: What stands for neither, besides an empty cell.

    Returns:
        n times True, False, or None for neither.

    Raises:
        DataError: A label is none of these.

    Example:
        >>> truth_of(pd.Series(["Yes", 0.0, ""]), {"yes", "1"}, {"no", "0"}).tolist()
        [True, False, None]
    """
    words = column.map(lambda label: "" if pd.isna(label) else str(label).strip().casefold().removesuffix(".0"))
    meaning = {**dict.fromkeys({"", *neither}), **dict.fromkeys(true, True), **dict.fromkeys(false, False)}
    if strange := sorted(set(words) - set(meaning)):
        accepted = sorted(set(meaning) - {""})
        raise DataError(f"column {column.name!r} has the labels {strange[:5]}: use {', '.join(accepted)}")
    return words.map(meaning).astype(object).where(lambda values: values.notna(), None)


def count_words(texts: pd.Series) -> pd.Series:
    """How many words each text has: a difficulty for sentences that have no other.

    Example:
        >>> count_words(pd.Series(["Nobody is wet.", "No"])).tolist()
        [3, 1]
    """
    return texts.map(lambda text: len(text.split()))
