"""AUROC and its intervals against scikit-learn, brute force and simulation."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, t
from sklearn.metrics import roc_auc_score

import madkit.detection
from madkit.errors import DataError
from madkit.statistics import Interval, auroc, compare, holm, mean_interval
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


@settings(max_examples=60, deadline=None)
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


def test_interval_isdelong_on_the_logit_scale():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    scores = rng.normal(size=80) + labels
    value, variance = brute(scores, labels)
    half = norm.ppf(0.975) * np.sqrt(variance) / (value * (1 - value))
    ends = 1 / (1 + np.exp(-(np.log(value / (1 - value)) + np.array([-half, half]))))
    assert auroc(scores, labels)[1:] == pytest.approx(ends, rel=1e-12)


@settings(max_examples=40, deadline=None)
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


def test_compare_isdelong_by_brute_force():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 == 0
    a = rng.normal(size=60) + labels
    b = (a + rng.normal(size=60)).round(1)
    components = []
    for scores in (a, b):
        pairs = scores[labels][:, None] - scores[~labels][None]
        components.append((pairs > 0) + (pairs == 0) / 2)
    gap = components[0] - components[1]
    variance = gap.mean(1).var(ddof=1) / len(gap) + gap.mean(0).var(ddof=1) / gap.shape[1]
    found = compare(a, b, labels)
    assert found.difference == pytest.approx(gap.mean())
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.975) * np.sqrt(variance))
    assert found.p_value == pytest.approx(2 * norm.sf(abs(gap.mean()) / np.sqrt(variance)))
    back = compare(b, a, labels)
    assert (back.difference, back.low, back.high) == pytest.approx((-gap.mean(), -found.high, -found.low))


def test_paired_test_holds_its_level():
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 2
    p_values = []
    for _ in range(600):
        shared = rng.normal(size=80) + labels
        p_values.append(compare(shared + rng.normal(size=80), shared + rng.normal(size=80), labels).p_value)
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.08


def test_compare_at_the_ends():
    labels = np.repeat([0, 1], 10)
    assert compare(np.arange(20), np.arange(20) ** 3, labels) == (0.0, 0.0, 0.0, 1.0)
    opposite = compare(np.arange(20), -np.arange(20), labels)
    assert opposite.difference == 1.0
    assert 0 < opposite.low < opposite.high == 1.0
    assert 0 < opposite.p_value < 1e-3


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
    with pytest.raises(DataError, match=named):
        auroc(scores, labels)
    with pytest.raises(DataError, match=named):
        compare(scores, scores, labels)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    for bad in ([1.1], [-0.1], [np.nan]):
        with pytest.raises(DataError):
            holm(bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_rule_rejects(p_values):
    adjusted = holm(p_values)
    rejected = set()
    for step, i in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[i] * (len(p_values) - step) > 0.05:
            break
        rejected.add(int(i))
    assert rejected == set(np.flatnonzero(adjusted <= 0.05).tolist())


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_mean_interval_covers_other_datasets(spread):
    rng = np.random.default_rng(0)
    truth, labels = norm.cdf(1 / np.sqrt(2 + spread**2)), np.arange(200) % 2
    covered = 0
    for shifts in rng.normal(1.0, spread, size=(250, 10)):
        each = [auroc(rng.normal(size=200) + shift * labels, labels) for shift in shifts]
        interval = mean_interval(each, draws=400)
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / 250 <= 0.99


def test_mean_interval_of_exact_aurocs_is_students():
    values = np.random.default_rng(0).uniform(0.4, 0.9, size=10)
    expected = t.interval(0.95, 9, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(10))
    assert mean_interval([Interval(v, v, v) for v in values])[1:] == pytest.approx(expected, abs=0.02)


def test_mean_interval_counts_the_noise_of_datasets_once():
    # The observed AUROCs of alike datasets vary by their noise, which the interval must not add to itself.
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.normal(size=2000)
    observed = [Interval(v, v - 0.05 * 1.96, v + 0.05 * 1.96) for v in 0.7 + noise]
    interval = mean_interval(observed, draws=2000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.05 / np.sqrt(2000), rel=0.1)


def test_mean_interval_is_seeded_and_stays_within_0_and_1():
    each = [Interval(0.9, 0.8, 1.0), Interval(1.0, 0.9, 1.0), Interval(0.6, 0.5, 0.7)]
    assert mean_interval(each) == mean_interval(each)
    assert mean_interval(each, seed=1) != mean_interval(each)
    assert mean_interval(each).high == 1.0
    low = mean_interval([Interval(*(1 - np.array(x))[[0, 2, 1]]) for x in each])
    assert (low.value, low.low) == (pytest.approx(1 - 2.5 / 3), 0.0)
    alike = mean_interval([Interval(0.5, 0.4, 0.6)] * 4)
    assert alike.low < alike.value < alike.high


def test_mean_interval_of_one_dataset_is_its_own():
    one = Interval(0.8, 0.7, 0.88)
    assert mean_interval([one]) == one
    for bad in ([], [Interval(np.nan, 0.0, 1.0)]):
        with pytest.raises(DataError, match="at least one"):
            mean_interval(bad)


def test_statistics_do_not_import_torch():
    code = "import sys, madkit.analysis; from madkit.detection import auroc; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="nothing"):
        madkit.detection.nothing  # noqa: B018
