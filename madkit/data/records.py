"""Records from elsewhere: the public quirky sets, or a user's own files with the same columns."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from madkit.data.names import CHARACTERS, stable_hash
from madkit.data.tasks.base import rank_quantiles
from madkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

LABELS = ("label", "alice_label", "bob_label")
COLUMNS = ("id", "template_args", "character", *LABELS, "difficulty")
_SUFFIXES = ("parquet", "jsonl", "json")

log = logging.getLogger(__name__)


def load_records(source: str) -> DatasetDict:
    """Read records from the hub or from a local folder.

    Args:
        source: A folder written by `save_to_disk`, a folder of `<split>*.parquet`, `<split>*.jsonl` or
            `<split>*.json` (one record a line; a subfolder `data` is searched too), one such file, or a hub name
            such as `EleutherAI/quirky_addition_raw`. A single file may have a column `split`; without it all
            records are of the train split.

    Returns:
        The splits, as they are.

    Raises:
        ConfigError: There is no such folder or hub dataset.
        DataError: The folder holds no records.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk

    folder = Path(source)
    if folder.is_file() and folder.suffix[1:] in _SUFFIXES:
        return DatasetDict(_read_file(folder))
    if not folder.is_dir():
        if folder.exists() or source.startswith(("/", ".", "~")):
            raise ConfigError(f"source={source!r} is not a folder: give a folder of records or a hub name")
        try:
            return load_dataset(source)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"source={source!r} is neither a folder here nor can it be had from the hub: {reason}"
            ) from error
    if (folder / "dataset_dict.json").exists():
        return load_from_disk(str(folder))
    return DatasetDict(_read_files(folder))


def check_records(records: DatasetDict, requantile: bool = True) -> DatasetDict:
    """Make sure that records can be relied on.

    Args:
        records: Splits with the columns of `COLUMNS`, and `difficulty_quantile` if `requantile` is off.
        requantile: Compute `difficulty_quantile` anew as rank/n over all splits (ties by the hash of the
            id). The public sets store another order statistic under this name (`argsort` where the rank
            was meant), which does not follow the difficulty.

    Returns:
        The same splits, the columns in plain types: labels bool, difficulty and quantile float.

    Raises:
        DataError: A column is missing; a label is not 0 or 1; a character is neither Alice nor Bob; a
            label is not that of its own character; a difficulty is not a number.
    """
    from datasets import DatasetDict

    needed = COLUMNS if requantile else (*COLUMNS, "difficulty_quantile")
    frames = {}
    for split, dataset in records.items():
        if missing := [column for column in needed if column not in dataset.column_names]:
            raise DataError(f"split {split!r} lacks the columns {missing}: it has {dataset.column_names}")
        frames[split] = _check_split(split, flat_frame(dataset))
    if requantile:
        whole = pd.concat(frames.values())
        order = np.argsort(stable_hash(whole["id"].tolist(), "ties"), kind="stable")
        ranks = np.empty(len(whole))
        ranks[order] = rank_quantiles(whole["difficulty"].to_numpy()[order], np.random.default_rng(0))
        parts = np.split(ranks, np.cumsum([len(frame) for frame in frames.values()])[:-1])
        for frame, part in zip(frames.values(), parts, strict=True):
            frame["difficulty_quantile"] = part
    return DatasetDict({split: _replace(records[split], frame) for split, frame in frames.items()})


def flat_frame(dataset: Dataset) -> pd.DataFrame:
    """The columns of a split as a table, but for `template_args`, whose rows would be slow to make."""
    return arrow_table(dataset).drop_columns(["template_args"]).to_pandas()


def arrow_table(dataset: Dataset) -> pa.Table:
    """The rows of a split as an Arrow table."""
    return dataset.with_format("arrow")[:]


def _read_table(files: list[Path]) -> pa.Table:
    """The rows of some files of one kind."""
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    reader = pa.parquet.read_table if files[0].suffix == ".parquet" else pa.json.read_json
    try:
        return pa.concat_tables([reader(file) for file in files])
    except pa.ArrowInvalid as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"source={str(files[0].parent)!r}: {files[0].name} is malformed: {reason}") from None


def _read_file(file: Path) -> dict[str, Dataset]:
    import pyarrow.compute as pc
    from datasets import Dataset

    table = _read_table([file])
    if "split" not in table.column_names:
        return {"train": Dataset(table)}
    splits = pc.unique(table["split"]).to_pylist()
    if strange := set(splits) - {"train", "validation", "test"}:
        raise DataError(f"column 'split' of {str(file)!r} has {sorted(map(str, strange))}: use train, validation, test")
    parts = {split: table.filter(pc.equal(table["split"], split)).drop_columns(["split"]) for split in splits}
    return {split: Dataset(part) for split, part in parts.items()}


def _read_files(folder: Path) -> dict[str, Dataset]:
    from datasets import Dataset

    found: dict[str, Dataset] = {}
    for split in ("train", "validation", "test"):
        for suffix in _SUFFIXES:
            files = sorted([*folder.glob(f"{split}*.{suffix}"), *folder.glob(f"data/{split}*.{suffix}")])
            if not files:
                continue
            found[split] = Dataset(_read_table(files))
            break
    if not found:
        raise DataError(
            f"source={str(folder)!r} holds no records: it needs train.parquet and validation.parquet "
            "(or .jsonl), or a folder written by save_to_disk"
        )
    return found


def _check_split(split: str, frame: pd.DataFrame) -> pd.DataFrame:
    for column in LABELS:
        values = pd.to_numeric(frame[column], errors="coerce")
        if bad := int((~values.isin([0, 1])).sum()):
            raise DataError(f"column {column!r} of split {split!r} has {bad} values that are not 0 or 1")
        frame[column] = values.astype(bool)
    if strange := sorted({str(value) for value in frame["character"].unique()} - set(CHARACTERS)):
        raise DataError(f"column 'character' of split {split!r} has {strange[:5]}: use 'Alice' and 'Bob'")
    own = np.where(frame["character"] == "Bob", frame["bob_label"], frame["alice_label"])
    if bad := int((own != frame["label"]).sum()):
        raise DataError(f"column 'label' of split {split!r} differs from the character's own in {bad} rows")
    for column in ("difficulty", "difficulty_quantile"):
        if column in frame:
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
            if bad := int((~np.isfinite(frame[column])).sum()):
                raise DataError(f"column {column!r} of split {split!r} has {bad} values that are not numbers")
    if bad := int(frame["id"].isna().sum()):
        raise DataError(f"column 'id' of split {split!r} is empty in {bad} rows")
    frame["id"] = frame["id"].astype(str)
    return frame


def _replace(dataset: Dataset, frame: pd.DataFrame) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    keep = [c for c in ("id", "character", "name", *LABELS, "difficulty", "difficulty_quantile") if c in frame]
    table = pa.Table.from_pandas(frame[keep], preserve_index=False)
    return Dataset(table.append_column("template_args", arrow_table(dataset)["template_args"]))
