"""Correlations and their bootstrap intervals against scipy."""

import numpy as np
import pytest
import scipy.stats
from scipy.special import expit

from madkit.errors import DataError
from madkit.statistics import fit_logistic_curve, pearson, r_squared, spearman


def test_correlations_are_scipys():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40).round(1)
    y = np.exp(x) + rng.normal(size=40)
    assert pearson(x, y).value == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert spearman(x, y).value == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert r_squared(x, y).value == pytest.approx(scipy.stats.linregress(x, y).rvalue ** 2)
    peer = scipy.stats.bootstrap(
        (x, y), lambda a, b: scipy.stats.pearsonr(a, b).statistic, paired=True, vectorized=False,
        method="percentile", n_resamples=2000, rng=0,
    ).confidence_interval  # fmt: skip
    assert pearson(x, y)[1:] == pytest.approx((peer.low, peer.high), abs=0.03)
    assert pearson(x, y) == pearson(x, y)


def test_few_rows_still_have_an_interval():
    found = pearson([0.1, 0.1, 0.3], [1.0, 2.0, 5.0])
    assert -1 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        ([1, 2], [1, 2], "n=2"),
        ([1, 2, np.nan], [1, 2, 3], "all finite"),
        ([0.1, 0.1, 0.1], [1, 2, 3], "constant"),
        ([1, 2, 3], [1, 2], "shapes"),
    ],
)
def test_bad_columns_are_named(x, y, named):
    for function in (pearson, spearman, r_squared):
        with pytest.raises(DataError, match=named):
            function(x, y)


@pytest.mark.parametrize("n", [9, 54])
def test_nothing_explained_is_within_the_interval(n):
    rng = np.random.default_rng(0)
    covered = dict.fromkeys((0.0, 0.49), 0)
    for _ in range(300):
        x, noise = rng.normal(size=(2, n))
        for truth in covered:
            found = r_squared(x, truth**0.5 * x + (1 - truth) ** 0.5 * noise)
            assert 0 <= found.low <= found.value <= found.high <= 1
            covered[truth] += found.low <= truth <= found.high
    assert all(0.91 <= hits / 300 <= 0.99 for hits in covered.values())


def test_rows_of_a_group_are_not_independent():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(9), 6)
    covered = {"groups": 0, "rows": 0}
    for _ in range(200):
        x, y = rng.normal(size=(2, 9))[:, groups] + 0.3 * rng.normal(size=(2, 54))
        covered["groups"] += r_squared(x, y, groups=groups.tolist()).low == 0
        covered["rows"] += r_squared(x, y).low == 0
    assert covered["groups"] / 200 >= 0.88 > 0.7 >= covered["rows"] / 200


def test_a_single_group_says_nothing_of_others():
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    for function, unknown in ((pearson, (-1, 1)), (spearman, (-1, 1)), (r_squared, (0, 1))):
        found = function(x, y, groups=["d"] * 30)
        assert found.value == function(x, y).value and found[1:] == unknown
        assert unknown[0] < function(x, y, groups=["d", "e"] * 15).low or function is r_squared
    curve = fit_logistic_curve(x, expit(x), [0.0, 1.0], groups=["d"] * 30, draws=20)
    assert curve.low.tolist() == [0.5, 0.5] and curve.high.tolist() == [1.0, 1.0]
    assert curve.r_squared[1:] == (0, 1)


def test_interval_of_r_squared_is_fishers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    peer = scipy.stats.pearsonr(x, y).confidence_interval()
    assert r_squared(x, y)[1:] == pytest.approx((peer.low**2, peer.high**2))
