"""Thresholds where new prompts are not like the held-out ones: simulations with a known shift and known anomalies."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge

from madkit.errors import DataError
from madkit.statistics import StreamNull, conformal_p_values, recalibrated_p_values
from madkit.statistics.nuisance_regression import NuisanceRegression
from madkit.statistics.weighted_conformal import density_ratio, weighted_conformal_p_values

NORMAL = {"normal": lambda rng, n: rng.normal(size=n), "chi-square": lambda rng, n: rng.chisquare(60, n) / 11}


def stream(rng, draw, n, share):
    """A shifted stream, a share of whose scores are anomalies far out, and which are not."""
    x = 4 + 2 * draw(rng, n)
    anomalous = np.arange(n) < round(share * n)
    return np.where(anomalous, x + 30, x), anomalous


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1])
@pytest.mark.parametrize(("shape", "most"), [("normal", 0.012), ("chi-square", 0.025)])
def test_false_alarms_are_near_nominal_after_a_shift_with_some_anomalies(shape, most, share):
    rng, found, before = np.random.default_rng(0), [], []
    for _ in range(60):
        held_out = NORMAL[shape](rng, 200)
        scores, anomalous = stream(rng, NORMAL[shape], 2000, share)
        p = recalibrated_p_values(scores, held_out, scores)
        found.append((p[~anomalous] <= 0.01).mean())
        before.append((conformal_p_values(scores, held_out)[~anomalous] <= 0.01).mean())
        assert (p[anomalous] <= 0.01).all()
    assert np.mean(before) > 0.5
    # Of normal scores: the quantiles of a stream are those of its normal part at higher levels.
    centre, upper = norm.ppf([0.5 / (1 - share), 0.75 / (1 - share)])
    expected = norm.sf(centre + norm.isf(0.01) * (upper - centre) / norm.ppf(0.75))
    if shape == "normal":
        assert np.mean(found) == pytest.approx(expected, abs=0.0015)
    assert np.mean(found) < most


@pytest.mark.parametrize("nominal", [0.01, 0.05, 0.1])
def test_without_a_shift_the_promise_of_held_out_prompts_is_kept(nominal):
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(300):  # a heavy tail, which that of a normal distribution misses
        held_out, scores = rng.standard_t(2, 199), rng.standard_t(2, 200)
        rates.append((recalibrated_p_values(scores, held_out, scores) <= nominal).mean())
    assert np.mean(rates) <= nominal + 3 * np.std(rates) / np.sqrt(len(rates))


def test_a_stream_of_many_anomalies_silences_and_one_without_a_spread_is_refused():
    rng = np.random.default_rng(2)
    scores, anomalous = stream(rng, NORMAL["normal"], 400, 0.3)
    assert not (StreamNull.of(scores).p_values(scores)[~anomalous] <= 0.01).any()
    for bad, named in (([1.0] * 30, "upper quartile at its median, 1"), ([1.0, 2.0], "20 finite scores or more")):
        with pytest.raises(DataError, match=named):
            StreamNull.of(bad)


def test_weights_that_are_known_bring_back_the_promise():
    rng = np.random.default_rng(3)
    plain, weighted, estimated = [], [], []
    for _ in range(150):
        x, new = rng.normal(size=300), rng.normal(1, 1, 300)
        held_out, scores = (2 * each + rng.normal(size=300) for each in (x, new))
        plain.append((conformal_p_values(scores, held_out) <= 0.1).mean())
        weights = np.exp(new - 0.5), np.exp(x - 0.5)  # the ratio of the two normal densities
        weighted.append((weighted_conformal_p_values(scores, held_out, *weights) <= 0.1).mean())
        ratio, new_ratio = density_ratio(x[:, None], new[:, None])
        estimated.append((weighted_conformal_p_values(scores, held_out, new_ratio, ratio) <= 0.1).mean())
        assert np.corrcoef(np.log(ratio), x)[0, 1] > 0.999
    assert np.mean(plain) > 0.3
    assert np.mean(weighted) <= 0.1 + 3 * np.std(weighted) / np.sqrt(150)
    assert np.mean(estimated) == pytest.approx(np.mean(weighted), abs=0.03)


def test_equal_weights_are_the_plain_p_values_and_weights_count_by_hand():
    rng = np.random.default_rng(4)
    held_out, scores = rng.integers(0, 9, 40), rng.integers(0, 9, 30)
    same = weighted_conformal_p_values(scores, held_out, np.full(30, 0.7), np.full(40, 0.7))
    np.testing.assert_allclose(same, conformal_p_values(scores, held_out))
    w, own = rng.random(40), rng.random(30)
    expected = [(v + w[held_out >= s].sum()) / (v + w.sum()) for s, v in zip(scores, own, strict=True)]
    np.testing.assert_allclose(weighted_conformal_p_values(scores, held_out, own, w), expected)
    with pytest.raises(DataError, match="no weight < 0"):
        weighted_conformal_p_values([1.0], [1.0], [-1.0], [1.0])


def test_nuisance_regression_is_a_ridge_regression_that_leaves_one_out():
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.normal(size=(30, 2)) * [1, 100], np.ones(30)])
    y = x[:, 0] - 0.02 * x[:, 1] + rng.normal(size=30)
    fitted = NuisanceRegression.fit(x, y)
    z = np.column_stack([(x[:, :2] - x[:, :2].mean(0)) / x[:, :2].std(0)])

    def left_out(penalty):
        rows = np.arange(30)
        fits = [Ridge(penalty).fit(z[rows != i], y[rows != i]) for i in rows]
        return np.array([y[i] - fit.predict(z[[i]])[0] for i, fit in enumerate(fits)])

    best = min((left_out(penalty) for penalty in np.logspace(-3, 3, 7)), key=lambda e: e @ e)
    np.testing.assert_allclose(fitted.held_out, best, atol=1e-9)
    assert np.abs(np.corrcoef(fitted.residuals(x, y), x[:, 0])[0, 1]) < 0.1
    with pytest.raises(DataError, match="2 trusted prompts for k=3 covariates"):
        NuisanceRegression.fit(x[:2], y[:2])


def test_a_score_that_grows_with_length_no_longer_alarms_on_long_prompts():
    rng = np.random.default_rng(6)
    length, longer = rng.uniform(10, 20, (300, 1)), rng.uniform(20, 40, (300, 1))
    held_out, scores = (0.3 * each[:, 0] + rng.normal(size=300) for each in (length, longer))
    fitted = NuisanceRegression.fit(length, held_out)
    assert (conformal_p_values(scores, held_out) <= 0.01).mean() > 0.5
    assert (conformal_p_values(fitted.residuals(longer, scores), fitted.held_out) <= 0.01).mean() < 0.05
