"""Activations made elsewhere become a store that `madkit test` reads like one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import madkit
from madkit.errors import DataError
from madkit.runs.fingerprints import digest
from madkit.store.array_files import layer_of
from madkit.store.checksums import tensor_checksum
from madkit.store.feature_store import FeatureStore
from madkit.store.prompt_rows import SPLITS, complete_prompt_rows
from madkit.store.shards import cut_shards
from madkit.store.variant import Variant
from madkit.streaming.validation import check_rows

#: Prompts of a shard.
_SHARD = 2048


def import_vectors(
    vectors: Mapping[Any, Any],
    rows: pd.DataFrame,
    run: str | Path,
    feature: str = "activations",
    adapter: bool = True,
    model: str = "",
) -> FeatureStore:
    """Write vectors that another program has made to a store of a run folder.

    Features that are imported for the same `rows` belong together: the same of the base model (``adapter=False``) are
    controls, and what `madkit.derived` compares with.

    Args:
        vectors: by site (n, d) numbers: arrays, tensors, frames. Their number format is kept.
        rows: n prompts, as `madkit.store.prompt_rows.COLUMNS` says; only ``split``, and ``anomalous`` for test prompts,
            have to be there. Their order is that of the vectors; the store has them split by split.
        run: the run folder, ``<run>/<dataset>``.
        feature: what the vectors are; recipes name it.
        adapter: whether they are of the model that is watched; False for those of its base.
        model: a name of the model, for the record.

    Returns:
        The store, complete and current.

    Raises:
        DataError: the table lacks columns, or vectors have other shapes, NaN or infinite values.
        ConfigError: a site or the feature has no name that a folder can have.

    Example:
        >>> import tempfile
        >>> rows = pd.DataFrame({"split": ["trusted"] * 3 + ["test"] * 2, "anomalous": [0, 0, 0, 0, 1]})
        >>> store = import_vectors({"layer.4": np.ones((5, 8))}, rows, tempfile.mkdtemp())
        >>> store.count("trusted"), store.layers
        (3, {'layer.4': 4})
    """
    checked = checked_vectors(vectors)
    for site, x in checked.items():
        if len(x) != len(rows):
            raise DataError(
                f"site {site!r} has {len(x)} vectors and there are {len(rows)} prompts: give each prompt one"
            )
    table = complete_prompt_rows(rows)
    order = np.argsort(table["split"].map(SPLITS.index).to_numpy(), kind="stable")
    table = table.iloc[order].reset_index(drop=True).assign(row=np.arange(len(table)))
    taken = torch.from_numpy(order)
    checked = {site: x[taken] for site, x in checked.items()}
    shards = cut_shards(table["split"].tolist(), _SHARD)
    identity = {
        "madkit": madkit.__version__,
        "base": model,
        "adapter": None,
        "prompts": {"imported": digest(table.astype(str).to_dict("list"))},
        "feature": {"class": "imported", "name": feature, "options": {}},
        "control": not adapter,
        "sites": list(checked),
        "vectors": digest({site: tensor_checksum(x) for site, x in checked.items()}),
    }
    folder = Variant(feature, adapter).folder(Path(run))
    store = FeatureStore.create(folder, identity, list(checked), shards, table, [layer_of(site) for site in checked])
    store.discard_damaged([shard.index for shard in shards])
    done = store.done()
    for shard in shards:
        if shard.index not in done:
            wanted = torch.tensor(shard.rows)
            store.write(shard.index, wanted, {site: x[wanted] for site, x in checked.items()})
    store.finish()
    return store


def checked_vectors(vectors: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Vectors as users have them, as dense tensors of floats.

    Args:
        vectors: by site (n, d) numbers: arrays, tensors, frames. A site may be called by a number, such as that of its
            layer, which stands for the same in letters: so it is called in a file of arrays.

    Raises:
        DataError: there are none, or they have other shapes, NaN or infinite values, or are sparse; or two sites have
            one name, or one has none.

    Example:
        >>> list(checked_vectors({12: np.ones((5, 8))}))
        ['12']
    """
    if not vectors:
        raise DataError("vectors={} holds no site: give (n, d) numbers by the name of each")
    found: dict[str, Tensor] = {}
    for name, values in vectors.items():
        if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
            raise DataError(f"site {name!r} is of type {type(name).__name__}: name it by a text or a whole number")
        site = str(name)
        if site in found:
            raise DataError(f"site {site!r} is there as a text and as a number: leave one out")
        try:
            x = check_rows(values, None)
        except DataError as error:
            raise DataError(f"site {site!r}: {error}") from None
        if x.layout != torch.strided:
            raise DataError(f"site {site!r} is sparse: give a dense array")
        found[site] = x if x.is_floating_point() else x.double()
    return found
