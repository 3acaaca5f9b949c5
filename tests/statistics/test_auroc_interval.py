"""AUROC and its intervals against scikit-learn, brute force and simulation."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

import madkit.detection
from madkit.statistics import auroc
from madkit.statistics.auroc_interval import delong_covariance


def brute(scores, labels):
    """AUROC and DeLong's variance from the table of all pairs."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    pairs = scores[labels][:, None] - scores[~labels][None]
    wins = (pairs > 0) + (pairs == 0) / 2
    m, n = wins.shape
    if min(m, n) < 2:
        return wins.mean(), np.nan
    return wins.mean(), wins.mean(1).var(ddof=1) / m + wins.mean(0).var(ddof=1) / n


@settings(max_examples=60)
@given(st.data())
def test_auroc_with_ties_is_brute_force_and_sklearn(data):
    labels = data.draw(st.lists(st.booleans(), min_size=4, max_size=60).filter(lambda x: len(set(x)) == 2))
    scores = data.draw(st.lists(st.integers(-3, 3), min_size=len(labels), max_size=len(labels)))
    interval = auroc(scores, labels)
    assert interval.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert interval.value == pytest.approx(brute(scores, labels)[0], abs=1e-12)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high
    if 2 <= sum(labels) <= len(labels) - 2:
        variance = delong_covariance(np.array([scores], dtype=float), np.array(labels))[1][0, 0]
        assert variance == pytest.approx(brute(scores, labels)[1], abs=1e-12)


def test_interval_is_delongs_on_the_logit_scale():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    scores = rng.normal(size=80) + labels
    value, variance = brute(scores, labels)
    half = norm.ppf(0.975) * np.sqrt(variance) / (value * (1 - value))
    ends = 1 / (1 + np.exp(-(np.log(value / (1 - value)) + np.array([-half, half]))))
    assert auroc(scores, labels)[1:] == pytest.approx(ends, rel=1e-12)


@settings(max_examples=40)
@given(st.lists(st.floats(-50, 50), min_size=6, max_size=30), st.integers(0, 10))
def test_auroc_turns_around_with_the_scores(scores, seed):
    labels = np.random.default_rng(seed).permutation(np.arange(len(scores)) % 2)
    there, back = auroc(scores, labels), auroc(-np.array(scores), labels)
    assert there.value == pytest.approx(1 - back.value)
    assert there.low == pytest.approx(1 - back.high, abs=1e-9)
    # The interval depends on the order only.
    assert auroc(rankdata(scores), labels) == there


@pytest.mark.parametrize("n", [2, 10, 100, 1000])
def test_perfect_separation_still_has_a_width(n):
    labels = np.repeat([0, 1], n)
    interval = auroc(np.arange(2 * n), labels)
    assert (interval.value, interval.high) == (1.0, 1.0)
    # The chance of a perfect sample at the lower end is not negligible, and the width shrinks with n.
    assert 1 - 5 / n < interval.low < 1 - 1 / n
    assert auroc(-np.arange(2 * n), labels) == pytest.approx((0.0, 0.0, 1 - interval.low))


def test_documented_interval_of_ten_against_ten():
    assert auroc(np.arange(20), np.repeat([0, 1], 10)).low == pytest.approx(0.80, abs=0.005)


def test_one_row_of_a_class_and_equal_scores_have_a_wide_interval():
    assert auroc([1.0, 2.0, 3.0], [0, 1, 0]).high - auroc([1.0, 2.0, 3.0], [0, 1, 0]).low > 0.5
    flat = auroc(np.zeros(40), np.arange(40) % 2)
    assert flat.value == 0.5
    assert flat.low < 0.4 < 0.6 < flat.high


@pytest.mark.parametrize(("shift", "n"), [(0.0, 30), (1.0, 30), (2.0, 30), (3.5, 20)])
def test_interval_covers_the_truth(shift, n):
    rng = np.random.default_rng(0)
    truth = norm.cdf(shift / np.sqrt(2))
    labels = np.repeat([0, 1], n)
    covered = 0
    for _ in range(600):
        interval = auroc(rng.normal(size=2 * n) + shift * labels, labels)
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / 600 <= 0.99


def _draw(rng, case):
    """Anomalous and normal scores, and their AUROC."""
    m, n, kind, number = case
    if kind == "normal":
        shift = 2**0.5 * norm.ppf(number)
        return rng.normal(shift, 1, m), rng.normal(0, 1, n), number
    # Mostly tied, like a count: a twentieth of the normal rows is above the others.
    truth = number * 0.95 + 0.5 * (number * 0.05 + (1 - number) * 0.95)
    return (rng.random(m) < number).astype(float), (rng.random(n) < 0.05).astype(float), truth


@pytest.mark.parametrize(
    "case",
    [
        (20, 200, "normal", 0.99),
        (20, 200, "normal", 0.8),
        (50, 50, "normal", 0.9),
        (400, 400, "normal", 0.999),
        (20, 200, "tied", 0.05),
        (20, 200, "tied", 0.2),
        (20, 200, "tied", 0.9),
    ],
)
def test_interval_covers_near_one_with_few_anomalies_and_among_ties(case):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(250):
        anomalous, normal, truth = _draw(rng, case)
        found = auroc(np.r_[anomalous, normal], np.repeat([1, 0], case[:2]))
        covered += found.low <= truth <= found.high
    assert covered / 250 >= 0.92


def test_statistics_do_not_import_torch():
    code = "import sys, madkit.analysis; from madkit.detection import auroc; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="nothing"):
        madkit.detection.nothing  # noqa: B018
