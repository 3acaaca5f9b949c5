"""Ways to aggregate over sites, by brute force and by what must not change them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from madkit.errors import DataError
from madkit.statistics import aggregate, auroc
from madkit.statistics.aggregation import AGGREGATIONS, CALIBRATED, aggregate_held_out

numbers = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=2, max_size=12)


@settings(max_examples=60)
@given(scores=numbers, calibration=numbers)
def test_ranks_and_fisher_by_counting(scores, calibration):
    n = len(calibration)
    ranks, fisher = [], []
    for row in scores:
        columns = [[held[j] for held in calibration] for j in range(3)]
        below = [sum(h < s for h in held) + sum(h == s for h in held) / 2 for s, held in zip(row, columns, strict=True)]
        p = [(1 + sum(h >= s for h in held)) / (1 + n) for s, held in zip(row, columns, strict=True)]
        ranks.append(sum(below) / n / 3)
        fisher.append(-2 * sum(map(math.log, p)))
    np.testing.assert_allclose(aggregate("rank", scores, calibration), ranks, rtol=1e-12)
    np.testing.assert_allclose(aggregate("fisher", scores, calibration), fisher, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", CALIBRATED)
def test_calibrated_scores_do_not_depend_on_a_sites_scale(way):
    rng = np.random.default_rng(0)
    scores, calibration = rng.normal(size=(50, 4)), rng.normal(size=(30, 4))
    scale, shift = np.array([1, 1e6, 1e-6, 10.0]), np.array([0, -5, 3, 1e3])
    moved = aggregate(way, scores * scale + shift, calibration * scale + shift)
    np.testing.assert_allclose(moved, aggregate(way, scores, calibration), rtol=1e-6)
    # The raw mean is ruled by the site with the largest numbers.
    raw = aggregate("mean", scores * scale + shift)
    assert np.corrcoef(raw, scores[:, 1])[0, 1] > 0.999


def test_ranks_are_blind_to_monotone_maps_and_zscore_is_the_plain_formula():
    rng = np.random.default_rng(1)
    scores, calibration = rng.normal(size=(20, 3)), rng.normal(size=(40, 3))
    for way in ("rank", "fisher"):
        np.testing.assert_allclose(
            aggregate(way, np.exp(scores), np.exp(calibration)), aggregate(way, scores, calibration), rtol=1e-12
        )
    z = (scores - calibration.mean(0)) / np.std(calibration, axis=0, ddof=1)
    np.testing.assert_allclose(aggregate("zscore", scores, calibration), z.mean(1), rtol=1e-12)
    np.testing.assert_allclose(aggregate("max", scores), scores.max(1))


@settings(max_examples=60)
@given(scores=numbers, calibration=numbers)
def test_cauchy_and_higher_criticism_by_counting(scores, calibration):
    n = len(calibration)
    cauchy, criticism = [], []
    for row in scores:
        columns = [[held[j] for held in calibration] for j in range(3)]
        p = [(1 + sum(h >= s for h in held)) / (1 + n) for s, held in zip(row, columns, strict=True)]
        p = sorted(min(value, 1 - 0.5 / (1 + n)) for value in p)
        cauchy.append(sum(math.tan(math.pi * (0.5 - value)) for value in p) / 3)
        # Of three sites the smaller half is one.
        criticism.append(math.sqrt(3) * (1 / 3 - p[0]) / math.sqrt(p[0] * (1 - p[0])))
    np.testing.assert_allclose(aggregate("cauchy", scores, calibration), cauchy, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(aggregate("higher_criticism", scores, calibration), criticism, rtol=1e-9, atol=1e-12)


def test_ledoit_wolf_is_the_distance_under_scikit_learns_covariance():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(3, 3))
    scores, calibration = rng.normal(size=(20, 3)) @ mixing, rng.normal(size=(40, 3)) @ mixing
    scaler = StandardScaler().fit(calibration)
    correct = np.sqrt(39 / 40)
    fitted = LedoitWolf().fit(scaler.transform(calibration) * correct)
    expected = fitted.mahalanobis(scaler.transform(scores) * correct)
    np.testing.assert_allclose(aggregate("ledoit_wolf", scores, calibration), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "calibration",
    [
        [[0.0, 0.0, 3.0], [1.0, 1.0, 5.0]],  # two prompts
        [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]] * 20,  # sites that say the same, or the opposite
    ],
)
def test_ledoit_wolf_without_an_inverse_is_of_the_directions_that_were_seen(calibration):
    calibration = np.array(calibration)
    fitted = LedoitWolf().fit(calibration)
    assert fitted.shrinkage_ < 1e-12 and np.linalg.matrix_rank(fitted.covariance_) == 1
    scores = np.random.default_rng(0).normal(size=(40, 3))
    z = (scores - calibration.mean(0)) / calibration.std(0, ddof=1)
    known = (calibration - calibration.mean(0)) / calibration.std(0, ddof=1)
    expected = np.einsum("ij,jk,ik->i", z, np.linalg.pinv(np.cov(known.T, bias=True)), z)
    found = aggregate("ledoit_wolf", scores, calibration)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert (found >= 0).all()


def test_ledoit_wolf_of_sites_that_say_the_same_is_that_of_one():
    rng = np.random.default_rng(0)
    for calibration in (np.array([[-1.0], [1.0]] * 15), rng.normal(size=(2, 1))):
        scores = 5 * rng.normal(size=(20, 1))
        expected = (scores[:, 0] - calibration.mean()) ** 2 / calibration.var(ddof=1)
        expected *= len(calibration) / (len(calibration) - 1)  # Ledoit and Wolf's covariance is over n
        scale, shift = np.array([1.0, 1.0, -3.0, 1e-6]), np.array([0.0, 0.0, 7.0, 1e3])
        found = aggregate("ledoit_wolf", scores * scale + shift, calibration * scale + shift)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_three_prompts_are_measured_against_the_other_two():
    calibration = np.random.default_rng(0).normal(size=(3, 4))
    found = aggregate_held_out("ledoit_wolf", calibration)
    left_out = [aggregate("ledoit_wolf", calibration[[i]], np.delete(calibration, i, axis=0))[0] for i in range(3)]
    np.testing.assert_allclose(found, left_out, rtol=1e-9)
    assert (found >= 0).all()


def test_a_weak_large_site_does_not_hide_a_strong_small_one():
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    scores = np.stack([rng.normal(size=400) + 2 * labels, 1e4 * rng.normal(size=400)], axis=1)
    calibration = np.stack([rng.normal(size=200), 1e4 * rng.normal(size=200)], axis=1)
    raw = auroc(aggregate("mean", scores), labels).value
    for way in CALIBRATED:
        assert auroc(aggregate(way, scores, calibration), labels).value > raw + 0.2


@pytest.mark.parametrize("way", AGGREGATIONS)
def test_calibration_prompts_are_measured_against_the_others(way):
    rng = np.random.default_rng(3)
    calibration = rng.normal(size=(20, 3)).round(1)  # with ties
    left_out = [aggregate(way, calibration[[i]], np.delete(calibration, i, axis=0))[0] for i in range(20)]
    np.testing.assert_allclose(aggregate_held_out(way, calibration), left_out, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", ["zscore", "ledoit_wolf"])
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
def test_equal_scores_are_told_by_comparing_them(way, value):
    """Their standard deviation may be 1e-17 in place of 0, by which any other score would be 1e14 of them away."""
    calibration = np.column_stack([np.full(50, value), np.arange(50.0)])
    for table in (calibration, calibration[:, :1]):
        with pytest.raises(DataError, match="at 1 sites all calibration scores are equal"):
            aggregate(way, table[:3] + 1, table)
        with pytest.raises(DataError, match="at 1 sites all calibration scores are equal"):
            aggregate_held_out(way, table)
    with pytest.raises(DataError, match="equal"):  # and so far below 1 that their spread is 0
        aggregate(way, [[0.0]], [[0.0], [1e-300]])


def test_a_prompt_unlike_all_others_is_far_from_them():
    calibration = np.zeros((30, 1))
    calibration[4] = 1
    found = aggregate_held_out("zscore", calibration)
    assert np.isfinite(found).all() and found.argmax() == 4 and found[4] > 1e3
    with pytest.raises(DataError, match="against the others and has 2"):
        aggregate_held_out("rank", calibration[:2])


@pytest.mark.parametrize(
    ("way", "scores", "calibration", "named"),
    [
        ("median", [[1.0]], None, "unknown aggregation; choose from mean, max"),
        ("mean", [1.0], None, "must be finite numbers, \\(n, sites\\)"),
        ("mean", [[np.nan]], None, "must be finite"),
        ("rank", [[1.0]], None, "rank needs scores of held-out trusted prompts and has 0"),
        ("rank", [[1.0]], [[1.0]], "has 1"),
        ("fisher", [[1.0, 2.0]], [[1.0], [2.0]], r"must be finite, \(m, 2\)"),
        ("zscore", [[1.0]], [[2.0], [2.0]], "all calibration scores are equal; use rank"),
    ],
)
def test_bad_input_is_named(way, scores, calibration, named):
    with pytest.raises(DataError, match=named):
        aggregate(way, scores, calibration)
