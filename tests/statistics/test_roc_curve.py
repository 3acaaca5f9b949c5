"""The ROC curve against scikit-learn, its band against simulation."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from sklearn.metrics import roc_auc_score, roc_curve

from madkit.statistics import auroc, independent_rows, roc, roc_band, tpr_at_fpr
from madkit.statistics.roc_curve import alarm_threshold


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
    area = trapezoid(curve.tpr, curve.fpr)
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


@given(
    normal=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    anomalous=st.lists(st.integers(-1, 8), min_size=1, max_size=20),
    fpr=st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.7]),
)
def test_the_threshold_of_a_rate_is_that_of_the_roc_curve(normal, anomalous, fpr):
    """The best of scikit-learn's thresholds whose rate is allowed catches what lies above it."""
    labels, scores = np.repeat([0, 1], [len(normal), len(anomalous)]), np.array(normal + anomalous, dtype=float)
    rates = roc_curve(labels, scores, drop_intermediate=False)
    alarms = scores > alarm_threshold(scores[labels == 0], fpr)
    best = np.flatnonzero(rates[0] <= fpr)[-1]
    assert alarms[labels == 1].mean() == pytest.approx(rates[1][best])
    assert alarms[labels == 0].mean() == pytest.approx(rates[0][best])
    if fpr:
        assert tpr_at_fpr(scores, labels, fpr, draws=1).value == pytest.approx(rates[1][best])


@pytest.mark.parametrize("n", [99, 100, 101, 300, 700, 1100])
def test_a_hundredth_of_the_normal_rows_may_alarm(n):
    scores = np.random.default_rng(0).permutation(n).astype(float)
    assert (scores > alarm_threshold(scores, 0.01)).sum() == n // 100


def test_where_nothing_shows_what_rows_are_worth_clusters_count():
    labels, statements = np.repeat([0, 1], 1000), np.tile(np.arange(1000) % 70, 2)
    perfect = np.arange(2000.0)
    assert independent_rows(perfect, labels, statements) == independent_rows(-perfect, labels, statements) == (70, 70)
    assert independent_rows(0 * perfect, labels, statements) == (70, 70)
    # Kish's number where they are of different sizes: of one with 930 rows and 70 others, little more than one.
    uneven = np.where(np.arange(2000) % 1000 < 930, 0, np.arange(2000) % 1000)
    assert independent_rows(perfect, labels, uneven) == (2, 2)
    # Normal rows that all tie are placed alike, but for rounding; the others tell what they are worth themselves.
    rng = np.random.default_rng(0)
    for n in (3, 7, 11):
        scores = np.concatenate([np.zeros(1000), rng.normal(size=70)[statements[1000:]]])
        normal, anomalous = independent_rows(
            scores[: 1000 + 70 * n], labels[: 1000 + 70 * n], statements[: 1000 + 70 * n]
        )
        assert normal == 70 and 50 <= anomalous <= 90


def test_a_class_of_one_cluster_says_next_to_nothing():
    scores, labels = sample(400)
    of_one = np.where(labels, 0, np.arange(400))
    normal, anomalous = independent_rows(scores, labels, of_one)
    assert normal == 200 and anomalous == 2
    assert independent_rows(scores, labels, np.where(labels, np.arange(400), 0))[0] == 2
    low, _ = roc_band(roc(scores, labels), normal, anomalous)
    assert low.tpr.max() < 0.2  # a curve that might be anywhere


def test_the_band_of_a_perfect_sample_of_few_statements_holds_the_true_curve():
    """A detector that errs on a fifth of all statements makes no mistake on seven of them in a fifth of the samples."""
    statements, labels = np.tile(np.repeat(np.arange(7), 30), 2), np.repeat([False, True], 210)
    inside, perfect = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        mistaken = rng.random(7) < 0.2
        scores = labels * np.where(mistaken[statements], -1.0, 1.0) + rng.random(420) / 9
        low, high = roc_band(roc(scores, labels), *independent_rows(scores, labels, statements))
        # Four in five anomalous prompts are above all normal ones.
        ends = [np.interp(0.5, low.fpr, low.tpr, left=0), np.interp(0.5, high.fpr, high.tpr, right=1)]
        inside.append(ends[0] <= 0.8 <= ends[1])
        perfect.append(not mistaken.any())
    assert np.mean(inside) > 0.93 and np.sum(perfect) > 5
    assert roc_band(roc(labels, labels), 210, 210)[0].tpr.max() > 0.8  # of prompts taken for independent
