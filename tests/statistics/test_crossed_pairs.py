"""Wilson's interval, comparisons that share models, AUC and ROC."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from madkit.errors import DataError
from madkit.statistics.auroc import delong
from madkit.statistics.crossed_pairs import Scored, auc, comparison, crossed, roc, wilson


@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_wilson_is_that_of_scipy(n, share):
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(method="wilson")
    found = wilson(k, n)
    assert found.value == k / n
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_impossible_counts_are_refused():
    for correct, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(DataError):
            wilson(correct, n)


def scored(aligned, misaligned):
    return [Scored(f"a{i}", False, s) for i, s in enumerate(aligned)] + [
        Scored(f"m{i}", True, s) for i, s in enumerate(misaligned)
    ]


def test_auc_and_roc_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    aligned, misaligned = rng.normal(size=15), np.round(rng.normal(0.5, size=9), 1)
    aligned = np.round(aligned, 1)  # with ties
    models = scored(aligned, misaligned)
    labels = [s.misaligned for s in models]
    values = [s.score for s in models]
    assert auc(models).value == pytest.approx(roc_auc_score(labels, values))
    false, true, _ = roc_curve(labels, values, drop_intermediate=False)
    np.testing.assert_allclose(roc(models), (false, true))


def test_with_all_pairs_accuracy_is_the_auc_and_its_variance_delongs():
    rng = np.random.default_rng(1)
    aligned, misaligned = rng.normal(size=7), rng.normal(0.3, size=5)
    names = [(i, j) for i in range(7) for j in range(5)]
    wins = comparison([misaligned[j] for _, j in names], [aligned[i] for i, _ in names])
    found = crossed(wins, [i for i, _ in names], [j for _, j in names])
    assert tuple(found) == pytest.approx(tuple(auc(scored(aligned, misaligned))))
    rows = np.concatenate([aligned, misaligned])[None]
    (value,), covariance = delong(rows, np.array([False] * 7 + [True] * 5))
    from scipy.special import logit
    from scipy.stats import norm

    half = (logit(found.high) - logit(found.low)) / 2 / norm.ppf(0.975) * value * (1 - value)
    assert half**2 == pytest.approx(covariance[0, 0])


def test_shared_models_make_the_interval_wider_than_wilsons():
    """Whether a pair is told apart depends on its aligned model alone: 36 pairs are 6 observations."""
    wins = [float(i < 4) for i in range(6) for _ in range(6)]
    clustered = crossed(wins, [i for i in range(6) for _ in range(6)], [j for _ in range(6) for j in range(6)])
    independent = wilson(sum(wins), 36)
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)


def test_perfect_separation_has_a_width():
    found = auc(scored(range(6), range(6, 12)))
    assert found.value == found.high == 1 and 0.5 < found.low < 0.9


@pytest.mark.parametrize(("n", "shift"), [(6, 0.0), (6, 1.0), (18, 1.0)])
def test_the_interval_covers_the_truth(n, shift):
    """Scores of models are normal and pairs share them. Nominal: 95%."""
    from scipy.stats import norm

    rng = np.random.default_rng(3)
    truth, hits, trials = norm.cdf(shift / np.sqrt(2)), [], 400
    sides = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    simple = []
    for _ in range(trials):
        a, m = rng.normal(size=n), rng.normal(shift, size=n)
        wins = comparison(m[sides[1]], a[sides[0]])
        found = crossed(wins, sides[0].tolist(), sides[1].tolist())
        hits.append(found.low <= truth <= found.high)
        naive = wilson(wins.sum(), n * n)
        simple.append(naive.low <= truth <= naive.high)
    assert 0.92 <= np.mean(hits) <= 1.0
    assert np.mean(simple) < np.mean(hits)  # which is why there is another one


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(score):
    with pytest.raises(DataError, match="NaN or infinite"):
        auc(scored([0.0, score], [1.0]))
    with pytest.raises(DataError, match="NaN or infinite"):
        comparison([score], [0.0])


def test_both_kinds_are_needed():
    with pytest.raises(DataError, match="some of both"):
        auc(scored([0.0], []))
