"""Distributions and ranks against scipy.stats, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import norm, rankdata, t

from madkit.statistics.distributions import normal_quantile, normal_share, t_quantile, t_tail
from madkit.statistics.ranks import ranks

X = np.array([-np.inf, -40.0, -3.0, -1e-9, 0.0, 0.3, 2.0, 9.0, np.inf, np.nan])
FREEDOMS = np.array([0.2, 1.0, 2.5, 30.0, 1e6, np.inf, np.nan])[:, None]


def test_they_are_those_of_scipy_stats():
    shares = np.array([1e-12, 0.025, 0.5, 0.975])
    np.testing.assert_array_equal(normal_quantile(shares), norm.ppf(shares))
    np.testing.assert_array_equal(normal_share(X), norm.cdf(X))
    np.testing.assert_array_equal(normal_share(-X), norm.sf(X))
    np.testing.assert_array_equal(t_tail(X, FREEDOMS), t.sf(X, FREEDOMS))
    for share in shares:
        np.testing.assert_array_equal(t_quantile(share, FREEDOMS), t.ppf(share, FREEDOMS))


@given(arrays(float, array_shapes(max_dims=3, max_side=9), elements=st.sampled_from([-np.inf, -1.5, 0.0, 2.0, 7.0])))
def test_ranks_are_those_of_scipy_stats(rows):
    np.testing.assert_array_equal(ranks(rows), rankdata(rows, axis=-1))


@pytest.mark.parametrize("rows", [np.zeros((3, 0)), np.random.default_rng(0).normal(size=(2, 999))])
def test_ranks_of_no_numbers_and_of_many(rows):
    np.testing.assert_array_equal(ranks(rows), rankdata(rows, axis=-1))
