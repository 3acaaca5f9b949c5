"""Records of quirky datasets: loaded from elsewhere, and made sure of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from madkit.data.prompts.names import CHARACTERS, stable_hash
from madkit.data.records.completing import as_numbers, complete
from madkit.data.records.reading import read_splits
from madkit.data.tasks.base import rank_quantiles
from madkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

LABELS = ("label", "alice_label", "bob_label")
COLUMNS = ("id", "template_args", "character", *LABELS, "difficulty")


def load_records(source: str) -> DatasetDict:
    """Read records from the hub, a local folder or a file.

    Args:
        source: As for `madkit.data.records.reading.read_splits`. What the rows leave unsaid (a row for each character,
            labels, ids, splits) is worked out: see `madkit.data.records.completing.complete`.

    Returns:
        The splits, with all columns of a record but perhaps those of the difficulty.

    Raises:
        ConfigError: There is no such file, folder or hub dataset.
        DataError: It holds no records.
    """
    return complete(read_splits(source))


def check_records(records: DatasetDict, requantile: bool = True) -> DatasetDict:
    """Make sure that records can be relied on.

    Args:
        records: Splits with the columns of `COLUMNS`, and `difficulty_quantile` if `requantile` is off.
        requantile: Compute `difficulty_quantile` anew as rank/n over all splits (ties by the hash of the
            id). The public sets may store another order statistic under this name.

    Returns:
        The same splits, the columns in plain types: labels bool, difficulty and quantile float.

    Raises:
        DataError: A column is missing; a label is not 0 or 1; a character is neither Alice nor Bob; a
            label is not that of its own character; a difficulty is not a number. The message says what is wrong
            first; `madkit data check` says everything.
    """
    from datasets import DatasetDict

    frames, problems = examine(records, requantile)
    if problems:
        more = f" (and {len(problems) - 1} more: see `madkit data check`)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)
    if requantile:
        whole = pd.concat(frames.values())
        order = np.argsort(stable_hash(whole["id"].tolist(), "ties"), kind="stable")
        ranks = np.empty(len(whole))
        ranks[order] = rank_quantiles(whole["difficulty"].to_numpy()[order], np.random.default_rng(0))
        parts = np.split(ranks, np.cumsum([len(frame) for frame in frames.values()])[:-1])
        for frame, part in zip(frames.values(), parts, strict=True):
            frame["difficulty_quantile"] = part
    return DatasetDict({split: _replace(records[split], frame) for split, frame in frames.items()})


def examine(records: DatasetDict, requantile: bool = True) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The flat columns of each split in plain types, and all that is wrong with them, a line each."""
    needed = COLUMNS if requantile else (*COLUMNS, "difficulty_quantile")
    frames: dict[str, pd.DataFrame] = {}
    problems = []
    for split, dataset in records.items():
        if missing := [column for column in needed if column not in dataset.column_names]:
            hint = f"; {NO_DIFFICULTY}" if "difficulty" in missing else ""
            problems.append(f"split {split!r} lacks the columns {missing}: it has {dataset.column_names}{hint}")
        frames[split], found = _examine_split(split, flat_frame(dataset))
        problems += found
    return frames, problems


#: What to do about records that do not say how hard they are.
NO_DIFFICULTY = "`madkit data difficulty` computes a difficulty with language models"


def flat_frame(dataset: Dataset) -> pd.DataFrame:
    """The columns of a split as a table, but for `template_args`, whose rows would be slow to make."""
    table = arrow_table(dataset)
    return table.drop_columns([c for c in ("template_args",) if c in table.column_names]).to_pandas()


def arrow_table(dataset: Dataset) -> pa.Table:
    """The rows of a split as an Arrow table."""
    return dataset.with_format("arrow")[:]


def _examine_split(split: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    problems = []
    for column in (column for column in LABELS if column in frame):
        values = as_numbers(frame[column])
        if bad := int((~values.isin([0, 1])).sum()):
            problems.append(f"column {column!r} of split {split!r} has {bad} values that are not 0 or 1")
        frame[column] = values == 1
    if "character" in frame:
        if strange := sorted({str(value) for value in frame["character"].unique()} - set(CHARACTERS)):
            problems.append(f"column 'character' of split {split!r} has {strange[:5]}: use 'Alice' and 'Bob'")
        elif not problems and set(LABELS) <= set(frame):
            own = np.where(frame["character"] == "Bob", frame["bob_label"], frame["alice_label"])
            if bad := int((own != frame["label"]).sum()):
                problems.append(f"column 'label' of split {split!r} differs from the character's own in {bad} rows")
    for column in ("difficulty", "difficulty_quantile"):
        if column in frame:
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
            if bad := int((~np.isfinite(frame[column])).sum()):
                problems.append(
                    f"column {column!r} of split {split!r} has {bad} values that are not numbers; {NO_DIFFICULTY}"
                )
    if "id" in frame:
        if bad := int(frame["id"].isna().sum()):
            problems.append(f"column 'id' of split {split!r} is empty in {bad} rows")
        frame["id"] = frame["id"].astype(str)
    return frame, problems


def _replace(dataset: Dataset, frame: pd.DataFrame) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    keep = [c for c in ("id", "character", "name", *LABELS, "difficulty", "difficulty_quantile") if c in frame]
    table = pa.Table.from_pandas(frame[keep], preserve_index=False)
    return Dataset(table.append_column("template_args", arrow_table(dataset)["template_args"]))
