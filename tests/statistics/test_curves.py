"""ROC curves, fitted curves, ranks and components against other libraries, published values and simulation."""

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import curve_fit
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score, roc_curve

from madkit.analysis import first_principal_components
from madkit.errors import DataError
from madkit.statistics import (
    Comparison,
    auroc,
    cliques,
    compare,
    compare_ranks,
    fit_logistic_curve,
    mean_comparison,
    pearson,
    roc,
    roc_band,
)


def sample(n=60, shift=1.0, seed=0, digits=None):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 1
    scores = rng.normal(size=n) + shift * labels
    return (scores if digits is None else scores.round(digits)), labels


@pytest.mark.parametrize("digits", [None, 0])
def test_roc_is_sklearns_and_its_area_is_auroc(digits):
    scores, labels = sample(digits=digits)
    curve = roc(scores, labels)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.interp(fpr, curve.fpr, curve.tpr)[1:-1], np.interp(fpr, fpr, tpr)[1:-1], atol=1e-12)
    assert len(curve.fpr) <= len(fpr)
    area = np.trapezoid(curve.tpr, curve.fpr)
    assert area == pytest.approx(roc_auc_score(labels, scores)) == pytest.approx(auroc(scores, labels).value)


def test_the_band_holds_the_whole_true_curve():
    grid = np.linspace(0.001, 0.999, 300)
    truth = scipy.stats.norm.sf(scipy.stats.norm.isf(grid) - 1)
    inside = 0
    for seed in range(300):
        scores, labels = sample(100, seed=seed)
        low, high = roc_band(roc(scores, labels), 50, 50)
        floor = np.interp(grid, low.fpr, low.tpr, left=0)
        ceiling = np.interp(grid, high.fpr, high.tpr, right=1)
        inside += bool((floor <= truth).all() and (truth <= ceiling).all())
    assert inside / 300 > 0.95 - 0.03


def test_the_curve_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 1, 50)
    y = np.clip(0.5 + 0.5 * expit(1 + 3 * x) + rng.normal(0, 0.03, 50), 0, 1)
    at = np.linspace(-3, 1, 20)
    found = fit_logistic_curve(x, y, at)
    (a, b), _ = curve_fit(lambda x, a, b: 0.5 + 0.5 * expit(a + b * x), x, y, p0=(0, 1))
    assert (found.intercept, found.slope) == pytest.approx((a, b), rel=1e-5)
    np.testing.assert_allclose(found.value, 0.5 + 0.5 * expit(a + b * at), atol=1e-6)
    assert found.r_squared.value == pytest.approx(1 - ((y - 0.5 - 0.5 * expit(a + b * x)) ** 2).sum() / y.var() / 50)
    assert (found.low <= found.value + 1e-9).all() and (found.value <= found.high + 1e-9).all()
    assert found.r_squared.low < found.r_squared.value < found.r_squared.high
    falling = fit_logistic_curve(-x, y, [0.0])
    assert falling.slope == pytest.approx(-b, rel=1e-5)


def test_rows_that_belong_together_say_less():
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(size=12), 10)
    y = x + np.repeat(rng.normal(size=12), 10)
    groups = np.repeat(np.arange(12), 10).tolist()
    alone, together = pearson(x, y), pearson(x, y, groups=groups)
    assert alone.value == together.value
    assert together.high - together.low > 2 * (alone.high - alone.low)
    curve = fit_logistic_curve(x, np.clip(y, 0.5, 1), [0.0], groups=groups)
    narrow = fit_logistic_curve(x, np.clip(y, 0.5, 1), [0.0])
    assert curve.high[0] - curve.low[0] > narrow.high[0] - narrow.low[0]
    with pytest.raises(DataError, match="groups has 1 entries for n=120 rows"):
        pearson(x, y, groups=["a"])


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [([1, 2], [3, 4], "n=2"), ([1, 1, 1], [1, 2, 3], "constant"), ([1, 2, np.nan], [1, 2, 3], "finite")],
)
def test_a_curve_through_nothing_is_an_error(x, y, words):
    with pytest.raises(DataError, match=words):
        fit_logistic_curve(x, y, [0.0])


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_critical_differences_are_those_of_demsars_table(k, q):
    values = np.random.default_rng(0).random((30, k))
    found = compare_ranks(values)
    assert found.critical_difference == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 30)), rel=5e-4)
    assert found.ranks.sum() == pytest.approx(k * (k + 1) / 2)
    if k > 2:
        assert found.p_value == pytest.approx(scipy.stats.friedmanchisquare(*values.T).pvalue)


def test_ranks_of_two_and_of_ties():
    found = compare_ranks([[0.9, 0.5], [0.8, 0.5], [0.7, 0.6], [0.4, 0.5]])
    assert found.ranks.tolist() == [1.25, 1.75]
    assert found.p_value == pytest.approx(scipy.stats.chi2.sf((3 - 1) ** 2 / 4, 1))
    assert compare_ranks([[0.5, 0.5, 0.5]] * 3).p_value == 1
    with pytest.raises(DataError, match=r"shape \(1, 3\)"):
        compare_ranks([[1.0, 2.0, 3.0]])


def test_cliques_are_the_longest_stretches():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranks = np.sort(rng.uniform(1, 8, 8))
        found = cliques(ranks, 2.0)
        brute = {(ranks[i], ranks[j]) for i in range(8) for j in range(i + 1, 8) if ranks[j] - ranks[i] < 2}
        brute = {one for one in brute if not any(o != one and o[0] <= one[0] and one[1] <= o[1] for o in brute)}
        assert set(found) == brute


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
def test_components_are_those_of_sklearn(shape):
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1]) + 5
    found, theirs = first_principal_components(x), PCA(2).fit(x)
    np.testing.assert_allclose(np.abs(found.scores), np.abs(theirs.transform(x)), atol=1e-8)
    np.testing.assert_allclose(found.shares, theirs.explained_variance_ratio_, atol=1e-10)
    np.testing.assert_allclose(first_principal_components(x[::-1]).scores[::-1], found.scores, atol=1e-8)
    with pytest.raises(DataError, match="equal"):
        first_principal_components(np.ones((3, 2)))


def test_the_mean_of_differences_has_the_right_error():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2 == 1
    means, halves = [], []
    for _ in range(200):
        ones = []
        for shift in (0.5, 1.0, 1.5):
            base = rng.normal(size=200) + shift * labels
            ones.append(compare(base + rng.normal(0, 0.7, 200), base + rng.normal(0, 0.7, 200), labels))
        found = mean_comparison(ones)
        means.append(found.difference)
        halves.append(found.high - found.difference)
    assert np.std(means) == pytest.approx(np.mean(halves) / 1.96, rel=0.15)
    assert mean_comparison([Comparison(0.0, 0.0, 0.0, 1.0)]).p_value == 1
    with pytest.raises(DataError):
        mean_comparison([])
