"""Records are checked, so that the rest of the pipeline can rely on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias
from uuid import uuid4

import numpy as np
import pandas as pd

from madkit.data.prompts.characters import CHARACTERS
from madkit.data.records.columns import LABELS, REQUIRED, arrow_table, as_numbers, flat_frame
from madkit.data.records.consistency import repeated_ids
from madkit.data.tasks.base import rank_quantiles
from madkit.errors import ConfigError, DataError
from madkit.statistics.hashing import stable_hash

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

#: What to do about records that do not say how hard they are.
NO_DIFFICULTY = "`madkit data difficulty` computes a difficulty with language models"


#: Whether to compute `difficulty_quantile`, and among which records: all of them, or those of one kind and split.
Requantile: TypeAlias = bool | Literal["balanced"]


def check_records(records: DatasetDict, requantile: Requantile = True) -> DatasetDict:
    """Refuse records with any problem, and put the others into plain types.

    Args:
        records: Splits with the columns `REQUIRED`, and `difficulty_quantile` if `requantile` is off.
        requantile: Compute `difficulty_quantile` anew as rank/n over all splits (ties by the hash of the
            id). The public sets may store another order statistic under this name. "balanced": as rank/n among the
            records of one split and one combination of truth and quirk, so that easy statements are true as often
            as hard ones, by either rule, and an answer tells neither who gives it nor whether it is trusted.

    Returns:
        The same splits, the columns in plain types: labels bool, difficulty and quantile float.

    Raises:
        ConfigError: There is no such way to compute quantiles.
        DataError: A column is missing; a label is not 0 or 1; a character is neither Alice nor Bob; a
            label is not that of its character; a difficulty is not a number. The message names the first
            problem; `madkit data check` names all of them.
    """
    from datasets import DatasetDict

    if requantile not in (True, False, "balanced"):
        raise ConfigError(f"requantile={requantile!r} is unknown: use true, false or balanced")
    frames, problems = find_problems(records, requantile)
    if problems:
        more = f" (and {len(problems) - 1} more: see `madkit data check`)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)
    if requantile:
        sizes = [len(frame) for frame in frames.values()]
        table = pd.concat(frames.values(), ignore_index=True)
        groups = [np.arange(len(table))]
        if requantile == "balanced":
            kinds = [np.repeat(np.arange(len(sizes)), sizes), table["alice_label"], table["bob_label"]]
            groups = [np.asarray(rows) for rows in table.groupby(kinds).indices.values()]
        ranks = np.empty(len(table))
        for rows in groups:
            ranks[rows] = _quantiles(table.iloc[rows])
        for frame, part in zip(frames.values(), np.split(ranks, np.cumsum(sizes)[:-1]), strict=True):
            frame["difficulty_quantile"] = part
    return DatasetDict({split: _replace(records[split], frame) for split, frame in frames.items()})


def _quantiles(table: pd.DataFrame) -> np.ndarray:
    """Rank/n of each record's difficulty, ties by the hash of the id, (n,)."""
    order = np.argsort(stable_hash(table["id"].tolist(), "ties"), kind="stable")
    ranks = np.empty(len(table))
    ranks[order] = rank_quantiles(table["difficulty"].to_numpy()[order], np.random.default_rng(0))
    return ranks


def find_problems(records: DatasetDict, requantile: Requantile = True) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The flat columns of each split in plain types, and all that is wrong with them, a line each."""
    needed = REQUIRED if requantile else (*REQUIRED, "difficulty_quantile")
    frames: dict[str, pd.DataFrame] = {}
    problems = []
    for split, dataset in records.items():
        if missing := [column for column in needed if column not in dataset.column_names]:
            hint = f"; {NO_DIFFICULTY}" if "difficulty" in missing else ""
            problems.append(f"split {split!r} lacks the columns {missing}: it has {dataset.column_names}{hint}")
        frames[split], problems_of_split = _check_split(split, flat_frame(dataset))
        problems += problems_of_split
    table = pd.concat([frame[[c for c in ("id", "character") if c in frame]] for frame in frames.values()])
    if (repeated := repeated_ids(table)) > len(table) / 2:
        problems.append(
            f"column 'id': {repeated} of {len(table)} records have the id of another one, such as "
            f"{table['id'].iloc[0]!r}; names and templates are drawn by it, so give each question its own, or "
            "leave the column out"
        )
    return frames, problems


def _check_split(split: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    problems = []
    # What a user has given before what was completed from it.
    for column in (column for column in (*LABELS[1:], LABELS[0]) if column in frame):
        values = as_numbers(frame[column])
        if bad := int((~values.isin([0, 1])).sum()):
            shown = frame[column][~values.isin([0, 1])].astype(object)
            problems.append(
                f"column {column!r} of split {split!r} has {bad} values that are not 0 or 1, such as "
                f"{_shown(shown)}: use 0 and 1, or true and false"
            )
        frame[column] = values == 1
    if "character" in frame:
        if strange := sorted({str(value) for value in frame["character"].unique()} - set(CHARACTERS)):
            problems.append(f"column 'character' of split {split!r} has {strange[:5]}: use 'Alice' and 'Bob'")
        elif not problems and set(LABELS) <= set(frame):
            expected = np.where(frame["character"] == "Bob", frame["bob_label"], frame["alice_label"])
            if bad := int((expected != frame["label"]).sum()):
                problems.append(f"column 'label' of split {split!r} differs from the character's own in {bad} rows")
    for column in ("difficulty", "difficulty_quantile"):
        if column in frame:
            before = frame[column]
            frame[column] = pd.to_numeric(before, errors="coerce").astype(float)
            if bad := int((~np.isfinite(frame[column])).sum()):
                shown = before[~np.isfinite(frame[column])].astype(object)
                problems.append(
                    f"column {column!r} of split {split!r} has {bad} values that are not numbers, such as "
                    f"{_shown(shown)}; {NO_DIFFICULTY}"
                )
    if "name" in frame and (bad := int((frame["name"].isna() | (frame["name"].astype(str).str.strip() == "")).sum())):
        problems.append(
            f"column 'name' of split {split!r} is empty in {bad} rows: say who speaks in each, or leave the column out"
        )
    if "id" in frame:
        if bad := int(frame["id"].isna().sum()):
            problems.append(f"column 'id' of split {split!r} is empty in {bad} rows")
        frame["id"] = frame["id"].astype(str)
    return frame, problems


def _shown(values: pd.Series) -> str:
    """One of the values that are wrong."""
    value = values.iloc[0]
    return "an empty one" if pd.isna(value) else repr(str(value)[:40])


def _replace(dataset: Dataset, frame: pd.DataFrame) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    keep = [c for c in ("id", "character", "name", *LABELS, "difficulty", "difficulty_quantile") if c in frame]
    table = pa.Table.from_pandas(frame[keep], preserve_index=False)
    table = table.append_column("template_args", arrow_table(dataset)["template_args"])
    return Dataset(table, fingerprint=uuid4().hex)  # which is otherwise a hash of all of it
