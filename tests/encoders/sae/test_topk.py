"""The fast top-k of rows gives what torch's gives."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from madkit.encoders.sae.topk import row_topk


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**31))
def test_the_largest_entries_are_those_of_topk(n, eighths, k, ordered, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few different numbers, so that many tie.
    x = torch.randint(-20, 20, (n, 8 * eighths), generator=generator).float()
    k = min(k, x.shape[1])
    values, columns = row_topk(x, k, ordered=ordered)
    expected = x.topk(k, dim=1).values
    assert torch.equal(values if ordered else values.sort(1, descending=True).values, expected)
    assert torch.equal(x.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())
