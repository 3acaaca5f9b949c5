"""Files of activations as other programs write them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from madkit.errors import ConfigError, DataError
from madkit.store.array_files import read_vectors

X = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)
SPLIT = ["trusted"] * 4 + ["test"] * 2


def lists(array):
    return [row.tolist() for row in array]


def write(path, kind):
    """Two layers of `X` as one array or two, and the split, in a file of a kind."""
    file = path / f"acts.{kind}"
    if kind == "npz":
        np.savez(file, resid=X, split=np.array(SPLIT))
    elif kind == "safetensors":
        save_file({f"resid.{k}": torch.from_numpy(X[:, k].copy()) for k in range(3)}, file)
    elif kind == "parquet":
        pq.write_table(pa.table({"resid": lists(X), "split": SPLIT}), file)
    else:
        from datasets import Dataset, DatasetDict

        part = {name: [i for i, split in enumerate(SPLIT) if split == name] for name in ("trusted", "test")}
        made = {
            name: Dataset.from_dict({f"resid.{k}": lists(X[rows, k]) for k in range(3)}) for name, rows in part.items()
        }
        DatasetDict(made).save_to_disk(str(file))
        return file / "trusted" if kind == "dataset" else file
    return file


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet", "dataset", "splits"])
def test_each_format_gives_the_same_vectors(tmp_path, kind):
    if kind == "splits":
        from datasets import Dataset, DatasetDict, load_from_disk

        write(tmp_path, "dataset")
        folder = tmp_path / "acts.dataset"
        assert isinstance(load_from_disk(str(folder)), DatasetDict) and Dataset
        vectors, columns = read_vectors(folder)
    else:
        vectors, columns = read_vectors(write(tmp_path, kind))
    n = 4 if kind == "dataset" else 6
    assert list(vectors) == ["resid.0", "resid.1", "resid.2"]
    for k, x in enumerate(vectors.values()):
        np.testing.assert_allclose(np.asarray(x, dtype=np.float32), X[:n, k])
    if kind in ("npz", "parquet", "splits"):
        assert columns["split"].tolist() == SPLIT
    else:
        assert columns.empty


def test_an_array_alone_is_called_like_its_file(tmp_path):
    np.save(tmp_path / "layer.7.npy", X[:, 0])
    assert list(read_vectors(tmp_path / "layer.7.npy")[0]) == ["layer.7"]


def test_number_formats_are_kept(tmp_path):
    save_file({"a": torch.ones(2, 3, dtype=torch.bfloat16)}, tmp_path / "a.safetensors")
    assert read_vectors(tmp_path / "a.safetensors")[0]["a"].dtype == torch.bfloat16


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "deep.npz", a=np.ones((2, 2, 2, 2)))
    np.savez(tmp_path / "flat.npz", a=np.ones(3))
    np.savez(tmp_path / "objects.npz", a=np.array([{}, None], dtype=object))
    pd.DataFrame({"a": [[1.0], [1.0, 2.0]]}).to_parquet(tmp_path / "ragged.parquet")
    pd.DataFrame({"a": [[1.0], None]}).to_parquet(tmp_path / "missing.parquet")
    pd.DataFrame({"a": [["x"], ["y"]]}).to_parquet(tmp_path / "words.parquet")
    for name, kind, said in (
        ("nowhere.npz", ConfigError, "no such file"),
        ("notes.txt", ConfigError, r"none of \.npz"),
        ("folder", ConfigError, "no folder of a dataset"),
        ("broken.npz", DataError, "cannot be read"),
        ("deep.npz", DataError, r"'a' of .* has shape \(2, 2, 2, 2\)"),
        ("flat.npz", DataError, "holds no vectors"),
        ("objects.npz", DataError, "cannot be read"),
        ("ragged.parquet", DataError, "lists of the lengths"),
        ("missing.parquet", DataError, "lists of the lengths"),
        ("words.parquet", DataError, "has lists of"),
    ):
        with pytest.raises(kind, match=said) as caught:
            read_vectors(tmp_path / name)
        assert "\n" not in str(caught.value), name
