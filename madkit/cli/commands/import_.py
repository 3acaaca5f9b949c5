"""`madkit import`: activations made elsewhere become a store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from madkit.errors import ConfigError, DataError
from madkit.store.prompt_rows import COLUMNS


def import_(
    activations: str,
    rows: str | None = None,
    out: str = "runs/imported/own",
    base: str | None = None,
    feature: str = "activations",
    model: str = "",
) -> int:
    """Write activations that another program has made to a store of a run folder, for `madkit test`.

    Args:
        activations: A file (npz, npy, safetensors, parquet) or a folder of a dataset: an array (n, d) for each site.
        rows: The prompts as a table (parquet, CSV, JSONL): split, and anomalous for test prompts; docs/activations.md
            has all columns. None where the file of activations has them.
        out: The run folder, RUN/DATASET.
        base: The same of the base model, of which the watched one was made, for detectors that compare the two.
        feature: What the vectors are called.
        model: A name of the model, for the record.
    """
    from madkit.runs.lock import locked
    from madkit.store.array_files import read_vectors
    from madkit.store.imported import import_vectors

    vectors, columns = read_vectors(Path(activations))
    table = columns if rows is None else _with_columns(columns, _table(Path(rows)), rows)
    if "split" not in table:
        raise DataError(
            f"rows={rows!r}: there is no column split: say of each prompt whether it is trusted, untrusted, "
            "calibration or test"
        )
    run = Path(out)
    with locked(run / ".lock", "madkit import"):
        store = import_vectors(vectors, table, run, feature, model=model)
        if base is not None:
            others, _ = read_vectors(Path(base))
            if others.keys() != vectors.keys():
                raise DataError(f"base={base!r} has the sites {', '.join(others)}: give {', '.join(vectors)}")
            import_vectors(others, table, run, feature, adapter=False, model=model)
    counts = store.rows["split"].value_counts(sort=False)
    print(f"{store.folder}: {len(store.sites)} sites; " + ", ".join(f"{n} {split}" for split, n in counts.items()))
    print(
        "now: madkit test --config recipes/test.yaml --model.unavailable skip "
        f"--run {run.parent} --data.dataset {run.name}"
    )
    return 0


def _table(path: Path) -> pd.DataFrame:
    from madkit.data.tables.files import SUFFIXES, read_rows, suffix_of

    if suffix_of(path) is None:
        raise ConfigError(f"rows={str(path)!r} is none of {', '.join(SUFFIXES)}: give a table of the prompts")
    table, malformed = read_rows(path, lambda names: names)
    if malformed:
        raise DataError(f"rows={str(path)!r} has {malformed} malformed lines: mend them, as each prompt needs its row")
    for name in table.columns:  # the cells of a CSV file are text
        if name in _BOOLEAN_COLUMNS and not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = [_BOOLEANS.get(str(value).strip().lower(), value) for value in table[name]]
    return table


_BOOLEAN_COLUMNS = [column.name for column in COLUMNS if column.kind == "boolean"]
#: Booleans as tables write them.
_BOOLEANS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}


def _with_columns(columns: pd.DataFrame, table: pd.DataFrame, rows: str) -> pd.DataFrame:
    """The table, and the columns that the file of activations has besides."""
    if len(columns) and len(columns) != len(table):
        raise DataError(f"rows={rows!r} has {len(table)} prompts and the activations {len(columns)}: give each its row")
    others = [name for name in columns if name not in table]
    return pd.concat([table.reset_index(drop=True), columns[others]], axis=1)
