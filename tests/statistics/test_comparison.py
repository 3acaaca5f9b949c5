"""All paired comparisons at once against one at a time, brute force and by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

import madkit.statistics.comparison
from madkit.errors import DataError
from madkit.statistics import auroc, compare, compare_all, holm

COLUMNS = ["a", "b", "difference", "low", "high", "p_value", "p_holm"]


def one_by_one(scores, labels):
    rows = [(a, b, *compare(scores[a], scores[b], labels)) for a, b in combinations(scores, 2)]
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    return table.assign(p_holm=holm(table["p_value"]))


def test_table_is_each_comparison_and_holm():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3 == 0
    shared = rng.normal(size=90) + labels
    scores = {
        "shared": shared,
        "tripled": 3 * shared + 1,
        "rounded": shared.round(),
        "noisy": shared + rng.normal(size=90),
        "reversed": -shared,
        "constant": np.zeros(90),
        "perfect": labels + rng.random(90),
        "also perfect": labels + rng.random(90),
        "labels": labels,
    }
    table = compare_all(scores, labels)
    assert list(table.columns) == COLUMNS
    assert len(table) == 9 * 8 // 2
    pd.testing.assert_frame_equal(table, one_by_one(scores, labels), rtol=1e-9, atol=1e-12, check_dtype=False)
    pairs = table.set_index(["a", "b"])
    assert pairs.loc[("shared", "tripled")].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert pairs.loc[("constant", "perfect"), "p_value"] < 1e-3


@settings(max_examples=40)
@given(st.data())
def test_table_with_ties_and_few_rows_is_each_comparison(data):
    labels = data.draw(st.lists(st.booleans(), min_size=2, max_size=20).filter(lambda x: len(set(x)) == 2))
    column = st.lists(st.integers(-2, 2), min_size=len(labels), max_size=len(labels))
    scores = dict(enumerate(data.draw(st.lists(column, min_size=2, max_size=5))))
    table, expected = compare_all(scores, labels), one_by_one(scores, labels)
    pd.testing.assert_frame_equal(table, expected, rtol=1e-9, atol=1e-12, check_dtype=False)
    assert ((table["low"] <= table["difference"]) & (table["difference"] <= table["high"])).all()
    assert table["p_value"].between(0, 1).all()
    assert (table["p_holm"] >= table["p_value"]).all()
    # Monotone transforms and the order of rows change nothing but roundings.
    turn = np.random.default_rng(0).permutation(len(labels))
    other = compare_all({name: rankdata(column)[turn] for name, column in scores.items()}, np.array(labels)[turn])
    pd.testing.assert_frame_equal(table, other, rtol=1e-9, atol=1e-9)


def test_difference_and_variance_are_brute_force():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 == 0
    scores = {name: (rng.normal(size=60) + labels).round(1) for name in "abcd"}
    wins = {}
    for name, column in scores.items():
        pairs = column[labels][:, None] - column[~labels][None]
        wins[name] = (pairs > 0) + (pairs == 0) / 2
    for row in compare_all(scores, labels).itertuples():
        gap = wins[row.a] - wins[row.b]
        error = np.sqrt(gap.mean(1).var(ddof=1) / len(gap) + gap.mean(0).var(ddof=1) / gap.shape[1])
        assert row.difference == pytest.approx(gap.mean())
        assert row.high - row.low == pytest.approx(2 * norm.ppf(0.975) * error)
        assert row.p_value == pytest.approx(2 * norm.sf(abs(gap.mean()) / error))


def test_covariance_is_computed_once(monkeypatch):
    calls = []
    covariance = madkit.statistics.comparison.delong_covariance
    counted = lambda *args: calls.append(1) or covariance(*args)  # noqa: E731
    monkeypatch.setattr(madkit.statistics.comparison, "delong_covariance", counted)
    compare_all({i: np.random.default_rng(i).normal(size=20) for i in range(6)}, np.arange(20) % 2)
    assert len(calls) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_two_perfect_scores_in_different_orders_are_not_told_apart(sign):
    n = 10
    labels = np.repeat([0, 1], n)
    a, b = sign * np.arange(2 * n), sign * np.concatenate([np.arange(n)[::-1], np.arange(n, 2 * n)])
    found, perfect = compare(a, b, labels), auroc(np.arange(2 * n), labels)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((perfect.low - 1, 1 - perfect.low))


def test_family_holds_its_level():
    # Six detectors that are alike: a pair is declared different in 5% of the families at most.
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    wrong = 0
    for _ in range(200):
        shared = rng.normal(size=80) + labels
        table = compare_all({i: shared + rng.normal(size=80) for i in range(6)}, labels)
        wrong += bool((table["p_holm"] < 0.05).any())
    assert wrong / 200 <= 0.09


def test_one_detector_has_no_pair():
    table = compare_all({"a": [1.0, 2.0]}, [0, 1])
    assert list(table.columns) == COLUMNS
    assert len(table) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "named"),
    [
        ({}, [0, 1], "no detector"),
        ({"a": [1.0, 2.0], "b": [1.0, np.nan]}, [0, 1], "'b'.*1 of 2 scores are NaN"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, [0, 1], "'b'.*shape"),
        ({"a": [1.0, 2.0]}, [1, 1], "2 anomalous of 2"),
        ({"a": [1.0, 2.0]}, [0, 2], "labels hold"),
    ],
)
def test_bad_data_is_named(scores, labels, named):
    with pytest.raises(DataError, match=named):
        compare_all(scores, labels)


def test_compare_is_delongs_by_brute_force():
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
