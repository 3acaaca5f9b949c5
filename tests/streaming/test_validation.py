"""Rows that are checked, cut into chunks and made of latents."""

import numpy as np
import pytest
import torch

from madkit.errors import DataError
from madkit.streaming.validation import all_finite, no_rows_like, row_chunks, sparse_rows


def rows(n=60, d=6, seed=0):
    """Rows with a constant feature, a feature that is mostly zero, and a mean far from the origin."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 50
    x[:, 0] = 0.1
    x[:, 1] *= rng.random(n) < 0.3
    return torch.tensor(x)


def test_sparse_chunks_put_the_rows_together_again(monkeypatch):
    monkeypatch.setattr("madkit.streaming.validation.CHUNK", 14)
    x = rows(11) * (torch.rand(11, 6, generator=torch.Generator().manual_seed(0)) < 0.2)
    parts = list(row_chunks(x.to_sparse().coalesce()))
    assert [len(part) for part in parts] == [2, 2, 2, 2, 2, 1]
    assert torch.equal(torch.cat(parts), x)
    sparse = list(row_chunks(x.to_sparse().coalesce(), dense=False))
    assert len(sparse) == 1 and all(part.is_coalesced() for part in sparse)
    assert torch.equal(torch.cat([part.to_dense() for part in sparse]), x)


def test_no_rows_have_the_layout_of_some():
    x = torch.eye(3)
    for like in (x, x.to_sparse().coalesce()):
        empty = no_rows_like(like)
        assert (empty.shape, empty.layout) == ((0, 3), like.layout)


@pytest.mark.parametrize(
    ("indices", "values", "named"),
    [
        (torch.tensor([[0, 5]]), torch.ones(1, 2), "indices run from 0 to 5: d=5 allows 0 to 4"),
        (torch.tensor([[-1, 2]]), torch.ones(1, 2), "from -1 to 2"),
        (torch.tensor([[0, 2]]), torch.ones(1, 3), r"give \(n, k\) both"),
    ],
)
def test_latents_that_do_not_exist_are_named(indices, values, named):
    with pytest.raises(DataError, match=named):
        sparse_rows(indices, values, 5)


def test_all_numbers_of_sparse_rows_are_looked_at():
    large = torch.full((2, 3), 1e308, dtype=torch.float64)  # whose sum overflows
    assert all_finite(large)
    large[1, 2] = torch.nan
    assert not all_finite(large.to_sparse().coalesce())
