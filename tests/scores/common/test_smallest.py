"""The smallest of each row against a full sort."""

import numpy as np
import pytest
import torch

from madkit.scores.common import smallest as module
from madkit.scores.common.smallest import smallest


def values(kind, m=40, n=1003):
    rng = np.random.default_rng(0)
    made = rng.normal(size=(m, n))
    if kind == "ties":
        made = np.round(made)
    if kind == "equal":
        made[:] = 2.0
    if kind == "infinite":
        made[np.arange(m), rng.integers(n, size=m)] = np.inf
        made[3] = -np.inf
    if kind == "at the end":
        made[:, -5:] -= 100
    if kind == "one group":
        # All that is sought lies in columns of one group.
        made[:, :: n // module.GROUP] -= 100
    if kind == "ascending":
        made = np.sort(made, axis=1)
    return made


@pytest.mark.parametrize("kind", ["plain", "ties", "equal", "infinite", "at the end", "one group", "ascending"])
@pytest.mark.parametrize("width", [1, 7, 30, 31, 32, 1003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_smallest_are_those_of_a_sort(kind, width, dtype):
    made = torch.tensor(values(kind), dtype=dtype)
    found, columns = smallest(made, width)
    torch.testing.assert_close(found, made.sort(dim=1).values[:, :width], rtol=0, atol=0)
    torch.testing.assert_close(found, made.gather(1, columns), rtol=0, atol=0)
    assert all(len(set(row)) == width for row in columns.tolist())


def test_no_rows_have_none():
    assert [part.shape for part in smallest(torch.zeros(0, 1003), 5)] == [(0, 5), (0, 5)]


def test_few_of_many_need_no_whole_selection(monkeypatch):
    """The threshold does its work: what is sorted at last is about as wide as what is sought."""
    widths, topk = [], torch.Tensor.topk

    def watched(self, *args, **options):
        widths.append(self.shape[1])
        return topk(self, *args, **options)

    monkeypatch.setattr(torch.Tensor, "topk", watched)
    smallest(torch.tensor(values("plain")), 10)
    assert 10 <= max(widths) <= 40
