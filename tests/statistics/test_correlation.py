"""Correlations and their bootstrap intervals against scipy."""

import numpy as np
import pytest
import scipy.stats

from madkit.errors import DataError
from madkit.statistics import pearson, r_squared, spearman


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
