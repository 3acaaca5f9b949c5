"""Means of resampled rows: those of the rows that are drawn, however they are added up."""

import numpy as np
import pytest

from madkit.statistics.bootstrap import resampled_means, resamples


@pytest.mark.parametrize("odd", [None, np.inf, np.nan])
def test_means_are_those_of_the_rows_that_are_drawn(odd):
    columns = np.random.default_rng(1).normal(size=(7, 3))
    if odd is not None:
        columns[2, 1] = odd
    found = resampled_means(columns, 50, np.random.default_rng(0))
    (drawn,) = resamples(7, 50, np.random.default_rng(0))
    expected = [[np.mean([columns[i, c] for i in rows]) for c in range(3)] for rows in drawn]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
    assert odd is None or np.isfinite(found[:, 1]).any()  # a draw without that row knows nothing of it


def test_many_draws_go_in_blocks(monkeypatch):
    columns = np.random.default_rng(1).normal(size=(11, 2))
    monkeypatch.setattr("madkit.statistics.bootstrap.BLOCK", 40)
    found = resampled_means(columns, 10, np.random.default_rng(0))
    drawn = np.concatenate(list(resamples(11, 10, np.random.default_rng(0))))
    np.testing.assert_allclose(found, columns[drawn].mean(1), rtol=1e-13)
