"""Vectors that other programs have written: NumPy, safetensors, parquet files, and folders of Hugging Face datasets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from madkit.errors import ConfigError, DataError

SUFFIXES = (".npz", ".npy", ".safetensors", ".parquet")


def read_vectors(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read named arrays of one file or folder.

    An array (n, d), or a column of lists, is the vectors of one site. One of three dimensions, (n, k, d), is k sites:
    ``<name>.0`` to ``<name>.<k - 1>``. One of one dimension, (n,), is a column of the table of prompts, as is a
    column of a table that holds no lists.

    Args:
        path: ``.npz``, ``.npy``, ``.safetensors``, ``.parquet``, or a folder by ``datasets.Dataset.save_to_disk``.

    Returns:
        By site an array or tensor (n, d), and the columns, of which there may be none.

    Raises:
        ConfigError: there is no such file, or it is of another kind.
        DataError: it cannot be read, or holds arrays of other shapes.
    """
    if not path.exists():
        raise ConfigError(f"activations={str(path)!r}: no such file; give one of {', '.join(SUFFIXES)}")
    if path.is_dir():
        return _sorted_out(_of_table(_dataset(path), path), path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"activations={str(path)!r} is none of {', '.join(SUFFIXES)}, nor a folder of a dataset")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return _sorted_out(((name, file[name]) for name in file.files), path)
        if path.suffix == ".npy":
            return _sorted_out(iter([(path.stem, np.load(path, mmap_mode="r", allow_pickle=False))]), path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return _sorted_out(iter(load_file(path).items()), path)
        return _sorted_out(_of_table(pq.read_table(path), path), path)
    except (ConfigError, DataError):
        raise
    except Exception as error:  # whatever the formats' readers raise of a damaged file
        raise DataError(f"{str(path)!r} cannot be read ({' '.join(str(error).split())[:160]})") from error


def layer_of(site: str) -> int | None:
    """The layer of a site: the number in its name, where there is one.

    Example:
        >>> [layer_of(name) for name in ("blocks.3.hook_resid_post", "model.layers.12", "logits", "7", "block.1.2")]
        [3, 12, None, 7, None]
    """
    numbers = re.findall(r"(?:^|[._-])(\d+)(?=$|[._-])", site)
    return int(numbers[0]) if len(numbers) == 1 else None


def _sorted_out(arrays: Iterator[tuple[str, Any]], path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    vectors: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    for name, array in arrays:
        if array.ndim == 1:
            columns[name] = np.asarray(array)
        elif array.ndim == 2:
            vectors[name] = array
        elif array.ndim == 3:
            vectors |= {f"{name}.{k}": array[:, k] for k in range(array.shape[1])}
        else:
            raise DataError(
                f"{name!r} of {str(path)!r} has shape {tuple(array.shape)}: give (n, d), (n, layers, d), or (n,)"
            )
    if not vectors:
        raise DataError(f"{str(path)!r} holds no vectors: give arrays (n, d), one row per prompt")
    if len(lengths := {len(column) for column in columns.values()}) > 1:
        raise DataError(f"{str(path)!r} has columns of {sorted(lengths)} values: give one for each prompt")
    return vectors, pd.DataFrame(columns)


def _dataset(path: Path) -> pa.Table:
    """The table of a folder that `save_to_disk` wrote; splits of a dictionary become the column ``split``."""
    from datasets import DatasetDict, concatenate_datasets, load_from_disk

    try:
        found = load_from_disk(str(path))
    except FileNotFoundError:
        raise ConfigError(
            f"activations={str(path)!r} is no folder of a dataset: give one that `save_to_disk` wrote, or a file"
        ) from None
    if isinstance(found, DatasetDict):
        parts = [part.remove_columns([]).add_column("split", [name] * len(part)) for name, part in found.items()]
        found = concatenate_datasets(parts)
    return found.flatten_indices().data.table


def _of_table(table: pa.Table, path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in table.column_names:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if not _is_list(column.type):
            yield name, table[name].to_pandas().to_numpy()
            continue
        shape = [len(column)]
        while _is_list(column.type):
            lengths = pc.unique(pc.list_value_length(column)).to_pylist()
            if len(lengths) != 1 or lengths[0] is None:
                raise DataError(
                    f"column {name!r} of {str(path)!r} has lists of the lengths {sorted(map(str, lengths))[:4]}: "
                    "give one vector of one length to each prompt"
                )
            shape.append(lengths[0])
            column = column.flatten()
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"column {name!r} of {str(path)!r} has lists of {column.type}: give numbers")
        yield name, column.to_numpy(zero_copy_only=False).reshape(shape)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
