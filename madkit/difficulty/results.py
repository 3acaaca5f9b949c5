"""The folder of results: records with their difficulty, every model's losses, and what made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from madkit.data.records.cache import no_progress_bars
from madkit.data.records.checking import check_records
from madkit.difficulty.questions import QuestionSet
from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically, write_json
from madkit.runs.folder import provenance
from madkit.runs.tables import write_parquet

if TYPE_CHECKING:
    from datasets import DatasetDict

MANIFEST = "difficulty.json"


def reserve_folder(out: Path, identity: Mapping[str, Any], *, write: bool = True) -> None:
    """Take a folder that is empty or was begun with the same questions, and write into it what it is for.

    Args:
        out: The folder.
        identity: What all models are asked and how, as plain data.
        write: Whether this process is the one that writes.

    Raises:
        StoreError: The folder holds something else.
    """
    try:
        earlier = json.loads((out / MANIFEST).read_text())["identity"]
    except FileNotFoundError:
        if not write:  # the first process is about to
            return
        if strange := sorted(path.name for path in out.glob("*") if path.name[0] != "."):
            raise StoreError(
                f"out={str(out)!r} holds {strange[0]!r}, which is not of `madkit data difficulty`: name a new folder"
            ) from None
        write_json(out / MANIFEST, {"identity": dict(identity), "complete": False})
        return
    except (json.JSONDecodeError, KeyError, TypeError):
        raise StoreError(f"{str(out / MANIFEST)!r} is damaged: delete the folder or name another one") from None
    for key, value in identity.items():
        if earlier.get(key) != value:
            raise StoreError(
                f"out={str(out)!r} was begun with {key}={earlier.get(key)!r} and this is {key}={value!r}: "
                "name another folder with `--out`, or delete this one"
            )


def write_results(
    out: Path, records: DatasetDict, questions: QuestionSet, losses: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Write the records with their difficulty, and the losses of every model.

    `<split>.parquet` have the columns of `records` with `difficulty` and `difficulty_quantile` set (rank/n over all
    splits, ties by the hash of the id); `losses.parquet` has a row for each question: `key`, `prompt`, `choices`,
    `truth`, `difficulty`, and a column for each model. `difficulty.json` says ``complete`` once all of them are there.

    Args:
        out: The folder, which `reserve_folder` has accepted.
        records: Checked records.
        questions: Their questions.
        losses: For each model its losses, (n questions,) float64.

    Returns:
        The table of losses.
    """
    manifest = json.loads((out / MANIFEST).read_text())
    models = list(losses)
    write_json(out / MANIFEST, {**manifest, "complete": False})
    table = questions.table.assign(difficulty=np.mean(list(losses.values()), axis=0), **losses)
    table = table[["key", "prompt", "choices", "truth", "difficulty", *models]]
    # Splits that an earlier run with fewer models has left must never lie beside those of this one; and the train
    # split, without which no folder is a source of records, goes first and comes back last.
    splits = sorted(questions.rows, key=lambda split: split != "train")
    for split in splits:
        (out / f"{split}.parquet").unlink(missing_ok=True)
    write_parquet(out / "losses.parquet", table)
    scored = with_difficulty(
        records, {split: table["difficulty"].to_numpy()[rows] for split, rows in questions.rows.items()}
    )
    with no_progress_bars():
        for split in splits[::-1]:
            write_atomically(out / f"{split}.parquet", scored[split].to_parquet)
    write_json(out / MANIFEST, {**manifest, "complete": True, "models": models, "made_by": provenance()})
    return table


def with_difficulty(records: DatasetDict, difficulty: Mapping[str, np.ndarray]) -> DatasetDict:
    """The records with another difficulty, and its quantile.

    Args:
        records: Splits, with or without a difficulty.
        difficulty: For each split one number a record.

    Raises:
        DataError: The records are malformed; see `check_records`.
    """
    from datasets import DatasetDict

    replaced = {}
    for split, dataset in records.items():
        plain = dataset.remove_columns([c for c in ("difficulty", "difficulty_quantile") if c in dataset.column_names])
        replaced[split] = plain.add_column("difficulty", np.asarray(difficulty[split], dtype=np.float64))
    return check_records(DatasetDict(replaced), requantile=True)
