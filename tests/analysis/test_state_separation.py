"""Separation by its definition, from moments and from rows that stream."""

import numpy as np
import pytest
import torch

from madkit.analysis.state_separation import separation, separation_from_moments
from madkit.analysis.streaming_separation import StreamingSeparation
from madkit.errors import DataError
from madkit.streaming import Variances


def states(n=90, d=7):
    rng = np.random.default_rng(0)
    is_bob = np.arange(n) % 3 == 0
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + is_bob[:, None] * rng.normal(size=d) + 100, is_bob


def test_separation_is_its_definition():
    x, is_bob = states()
    gap = x[~is_bob].mean(0) - x[is_bob].mean(0)
    found = separation(x, is_bob)
    assert found.variance == pytest.approx(np.trace(np.cov(x.T)), rel=1e-12)
    assert found.value == pytest.approx(gap @ gap / np.trace(np.cov(x.T)), rel=1e-10)
    assert (found.n_alice, found.n_bob) == (60, 30)
    assert separation(x.astype(np.float32) * 3 + 1, is_bob).value == pytest.approx(found.value, rel=1e-4)
    assert separation(x[:, 0], is_bob) == separation(x[:, :1], is_bob)


def test_streamed_separation_is_the_same():
    x, is_bob = states()
    sides = []
    for rows in (x[~is_bob], x[is_bob]):
        moments = Variances()
        for batch in torch.tensor(rows).split(7):
            moments.update(batch)
        sides.append(moments.result())
    assert separation_from_moments(*sides) == pytest.approx(separation(x, is_bob), rel=1e-9)
    apart = StreamingSeparation()
    order = np.random.default_rng(1).permutation(len(x))
    for batch in np.array_split(order, 11):
        apart.update(torch.tensor(x[batch]), torch.tensor(is_bob[batch]))
    assert apart.compute() == pytest.approx(separation(x, is_bob), rel=1e-9)


def test_separation_of_low_precision_rows_is_exact():
    x, is_bob = states()
    low = torch.tensor(x).to(torch.bfloat16)
    apart = StreamingSeparation().to(torch.bfloat16)
    apart.update(low, torch.tensor(is_bob))
    assert apart.compute() == pytest.approx(separation(low.double().numpy(), is_bob), rel=1e-9)


def test_two_points_are_just_below_four():
    found = separation(np.repeat([0.0, 1.0], 500), np.repeat([False, True], 500))
    assert found.value == pytest.approx(4 * 999 / 1000)


def test_bad_states_are_named():
    x, is_bob = states()
    broken = x.copy()
    broken[[2, 5], 1] = np.nan
    with pytest.raises(DataError, match="in 2 of 90 rows"):
        separation(broken, is_bob)
    with pytest.raises(DataError, match="0 Alice and 90 Bob"):
        separation(x, np.ones(90))
    with pytest.raises(DataError, match="is_bob holds"):
        separation(x, np.arange(90))
    with pytest.raises(DataError, match="is_bob \\(89,\\)"):
        separation(x, is_bob[1:])
    with pytest.raises(DataError, match="all n=90 rows are equal"):
        separation(np.full((90, 3), 0.1), is_bob)
    apart = StreamingSeparation()
    apart.update(x[is_bob], np.ones(30))
    with pytest.raises(DataError, match="0 Alice and 30 Bob"):
        apart.compute()
    with pytest.raises(DataError, match="in 2 of 90 rows"):
        apart.update(broken, is_bob)
