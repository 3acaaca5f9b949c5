"""Statistics at low FPR against scikit-learn, brute force, exact binomial intervals and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.stats import binomtest, norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

import madkit.statistics.low_fpr_statistics
from madkit.errors import ConfigError, DataError
from madkit.statistics import (
    LowFPRStatistics,
    auroc,
    average_precision,
    low_fpr,
    partial_auroc,
    stratified_auroc,
    tpr_at_fpr,
)
from madkit.statistics.auroc_interval import auroc_all
from madkit.statistics.low_fpr_statistics import low_fpr_all
from madkit.statistics.stratification import stratified_auroc_all

RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0)


def brute_tpr(scores, labels, fpr):
    """The best of all thresholds, tried one by one."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    flagged = [scores >= threshold for threshold in [*np.unique(scores), np.inf]]
    return max(flag[labels].mean() for flag in flagged if flag[~labels].sum() / (~labels).sum() <= fpr)


def brute_average_precision(scores, labels):
    """Over anomalous rows, the precision of the threshold that just catches the row."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    return np.mean([labels[scores >= score].mean() for score in scores[labels]])


@st.composite
def samples(draw):
    labels = draw(st.lists(st.booleans(), min_size=2, max_size=60).filter(lambda x: len(set(x)) == 2))
    scores = draw(st.lists(st.integers(-4, 4), min_size=len(labels), max_size=len(labels)))
    return np.array(scores, dtype=float), np.array(labels)


@settings(max_examples=150)
@given(samples(), st.sampled_from(RATES))
def test_values_with_ties_are_sklearn_and_brute_force(sample, fpr):
    scores, labels = sample
    found = low_fpr(scores, labels, fpr, draws=20)
    assert found.partial_auroc.value == pytest.approx(roc_auc_score(labels, scores, max_fpr=fpr), abs=1e-12)
    assert found.average_precision.value == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert found.average_precision.value == pytest.approx(brute_average_precision(scores, labels), abs=1e-12)
    assert found.tpr.value == pytest.approx(brute_tpr(scores, labels, fpr), abs=1e-12)
    lowest = 0.5 * (1 - fpr / 2 / (1 - fpr / 2))
    for interval, least in zip(found, (lowest, 0, 0), strict=True):
        assert least - 1e-12 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("sizes", [(3000, 3000), (3000, 20), (20, 3000)])
def test_values_of_many_rows_are_sklearn(sizes, decimals):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], sizes))
    scores = rng.normal(size=len(labels)) + labels
    scores = scores if decimals is None else scores.round(decimals)
    for fpr in (0.01, 0.1):
        found = low_fpr(scores, labels, fpr, draws=2)
        assert found.partial_auroc.value == pytest.approx(roc_auc_score(labels, scores, max_fpr=fpr), abs=1e-12)
        assert found.average_precision.value == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        assert found.tpr.value == pytest.approx(brute_tpr(scores, labels, fpr), abs=1e-12)


@settings(max_examples=40)
@given(samples(), st.integers(0, 5))
def test_only_the_order_of_scores_matters(sample, seed):
    scores, labels = sample
    found = low_fpr(scores, labels, 0.1, seed=seed)
    assert low_fpr(rankdata(scores), labels, 0.1, seed=seed) == found
    assert low_fpr(np.exp(3 * scores) - 5, labels, 0.1, seed=seed) == found
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    assert low_fpr(scores[shuffled], labels[shuffled].astype(int), 0.1, seed=seed) == found


def test_one_sort_gives_what_each_function_gives():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3 == 0
    scores = rng.normal(size=300) + 2 * labels
    found = low_fpr(scores, labels, 0.05, draws=50, seed=3)
    assert isinstance(found, LowFPRStatistics)
    assert partial_auroc(scores, labels, 0.05, draws=50, seed=3) == found.partial_auroc
    assert tpr_at_fpr(scores, labels, 0.05, draws=50, seed=3) == found.tpr
    assert average_precision(scores, labels, draws=50, seed=3) == found.average_precision
    assert low_fpr(scores, labels, 0.05, draws=50, seed=4) != found


def test_the_whole_curve_is_auroc():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = (rng.normal(size=400) + labels).round(1)
    whole, delong = partial_auroc(scores, labels, max_fpr=1, draws=2000), auroc(scores, labels)
    assert whole.value == pytest.approx(delong.value)
    # Another method for the same interval, a little wider for the gaps it adds.
    assert whole.low == pytest.approx(delong.low, abs=0.008)
    assert whole.high == pytest.approx(delong.high, abs=0.008)


@pytest.mark.parametrize("caught", [0, 1, 13, 20])
def test_tpr_at_a_known_threshold_is_clopper_pearson(caught):
    # All normal rows lie together, so that where among them the threshold is does not matter.
    scores = np.concatenate([np.zeros(3000), np.full(caught, 1.0), np.full(20 - caught, -1.0)])
    found = tpr_at_fpr(scores + np.linspace(0, 0.1, len(scores)), np.repeat([0, 1], [3000, 20]), draws=20_000)
    exact = binomtest(caught, 20).proportion_ci(0.95, method="exact")
    assert found == pytest.approx((caught / 20, exact.low, exact.high), abs=0.01)


def test_threshold_among_normal_rows_is_known_as_binomially():
    # The anomalous rows are so many that their share above a score is known: it falls from 1 to 0 over the top
    # tenth of the normal rows, so that the TPR is how many of them the threshold leaves below, ten times.
    n, m = 1000, 50_000
    scores = np.concatenate([np.arange(n), np.linspace(0.9 * n, n, m)])
    found = tpr_at_fpr(scores, np.repeat([0, 1], [n, m]), 0.05, draws=1000)
    # By the exact binomial test, 5% of normal rows lie above as many of those seen.
    counts = np.arange(n + 1)
    allowed = [k for k in counts[:150] if binomtest(int(k), n, 0.05).pvalue > 0.05]
    assert found.low == pytest.approx(min(allowed) / 100, abs=0.03)
    assert found.high == pytest.approx(max(allowed) / 100, abs=0.03)


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_perfect_sample_still_has_a_width(n):
    labels = np.repeat([0, 1], n)
    found = low_fpr(np.arange(2 * n), labels, draws=2000)
    assert [(interval.value, interval.high) for interval in found] == [(1.0, 1.0)] * 3
    assert all(interval.low < 1 for interval in found)
    # Fewer than 370 normal rows cannot show that less than 1% of them lie above.
    assert found.tpr.low == (0 if n < 370 else pytest.approx(0.025 ** (1 / n), abs=0.002))
    back = low_fpr(-np.arange(2 * n), labels)
    assert (back.tpr.value, back.tpr.low) == (0.0, 0.0)
    assert all(interval.low < interval.high for interval in back)


def test_perfect_sample_says_more_with_more_rows():
    widths = []
    for n in (400, 1000, 4000):
        found = low_fpr(np.arange(2 * n), np.repeat([0, 1], n))
        widths.append([interval.high - interval.low for interval in found])
    assert (np.diff(widths, axis=0) < 0).all()


def test_equal_scores_and_one_row_of_a_class():
    flat = low_fpr(np.zeros(40), np.arange(40) % 4 == 0)
    assert [interval.value for interval in flat] == [0.5, 0.0, 0.25]
    single = low_fpr([1.0, 2.0], [0, 1])
    assert [interval.value for interval in single] == [1.0, 1.0, 1.0]
    for found in (flat, single):
        assert all(interval.low < interval.high for interval in found)


def test_few_normal_rows_put_the_threshold_above_all():
    scores, labels = [1.0, 2.0, 3.0, 4.0, 5.0], [0, 1, 0, 1, 1]
    assert tpr_at_fpr(scores, labels, 0.01).value == pytest.approx(2 / 3)
    assert tpr_at_fpr(scores, labels, 0.499).value == pytest.approx(2 / 3)
    assert tpr_at_fpr(scores, labels, 0.5).value == 1.0
    # A normal row tied with the highest score leaves no threshold.
    assert tpr_at_fpr([*scores, 5.0], [*labels, 0], 0.01).value == 0.0


@pytest.mark.parametrize("share", [0.01, 0.03, 0.07, 0.29, 0.57])
def test_rate_met_exactly_is_allowed(share):
    n = 100
    # As many normal rows lie above the anomalous ones as the rate allows.
    scores = np.concatenate([np.arange(n), np.full(5, n - round(share * n) - 0.5)])
    labels = np.repeat([0, 1], [n, 5])
    assert tpr_at_fpr(scores, labels, share).value == 1.0
    assert tpr_at_fpr(scores, labels, share - 1e-6).value == 0.0


@pytest.mark.parametrize(("shift", "n"), [(1.0, 60), (2.5, 60), (2.5, 400)])
def test_intervals_cover_the_truth(shift, n):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], n)
    rates = np.concatenate([[0], np.logspace(-9, 0, 20_001)])
    caught = norm.sf(norm.isf(rates) - shift)
    inside = rates <= 0.01
    area, chance = trapezoid(caught[inside], rates[inside]), 0.01**2 / 2
    precision = np.divide(caught, caught + rates, out=np.ones_like(rates), where=rates > 0)
    truths = (
        (1 + (area - chance) / (0.01 - chance)) / 2,
        norm.sf(norm.isf(0.01) - shift),
        trapezoid(precision, caught),
    )
    covered = np.zeros(3)
    for seed in range(150):
        found = low_fpr(rng.normal(size=2 * n) + shift * labels, labels, seed=seed)
        covered += [interval.low <= truth <= interval.high for interval, truth in zip(found, truths, strict=True)]
    assert (covered / 150 >= 0.92).all()


def test_draws_are_the_same_in_distribution_however_blocked(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    scores = rng.normal(size=200) + labels
    whole = low_fpr(scores, labels, 0.1, draws=3000)
    monkeypatch.setattr(madkit.statistics.low_fpr_statistics, "BLOCK", 1)
    for interval, other in zip(low_fpr(scores, labels, 0.1, draws=3000), whole, strict=True):
        assert interval == pytest.approx(other, abs=0.015)


@pytest.mark.parametrize(
    ("scores", "labels", "named"),
    [
        ([1.0, np.nan], [0, 1], "1 of 2 scores are NaN"),
        ([1.0, np.inf], [0, 1], "NaN or infinite"),
        ([], [], "0 anomalous of 0"),
        ([1.0, 2.0], [1, 1], "2 anomalous of 2"),
        ([1.0, 2.0], [0, 0], "0 anomalous of 2"),
        ([1.0, 2.0], [0, 2], "labels hold"),
        ([1.0, 2.0, 3.0], [0, 1], "shape"),
        ([[1.0, 2.0]], [[0, 1]], "shape"),
    ],
)
def test_bad_data_is_named(scores, labels, named):
    for function in (low_fpr, partial_auroc, tpr_at_fpr, average_precision):
        with pytest.raises(DataError, match=named):
            function(scores, labels)


def test_bad_arguments_are_named():
    for bad in (0, -0.1, 1.1, np.nan):
        for function in (low_fpr, partial_auroc, tpr_at_fpr):
            with pytest.raises(ConfigError, match="fpr="):
                function([1.0, 2.0], [0, 1], bad)
    with pytest.raises(ConfigError, match="draws=0"):
        average_precision([1.0, 2.0], [0, 1], draws=0)


@pytest.mark.parametrize("clustered", [False, True])
def test_many_scores_at_once_are_each_by_itself(clustered):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3 == 0
    scores = rng.normal(size=(6, 240)) + np.array([0, 1, 2, 4, 9, 1])[:, None] * labels
    scores[5] = scores[5].round()
    clusters = (rng.integers(60, size=240), rng.integers(9, size=240)) if clustered else None
    answers = rng.integers(3, size=240)
    assert low_fpr_all(scores, labels, 0.05, clusters=clusters) == [
        low_fpr(row, labels, 0.05, clusters=clusters) for row in scores
    ]
    assert auroc_all(scores, labels, clusters=clusters) == [auroc(row, labels, clusters=clusters) for row in scores]
    together = stratified_auroc_all(scores, labels, answers, clusters=clusters)
    for found, row in zip(together, scores, strict=True):
        alone = stratified_auroc(row, labels, answers, clusters=clusters)
        assert found.within == alone.within and found.difference == pytest.approx(alone.difference, rel=1e-12)
