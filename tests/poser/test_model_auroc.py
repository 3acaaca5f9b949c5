"""AUROC and ROC curve of one threshold for all models, against scikit-learn and the mean over all pairs."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from madkit.errors import DataError
from madkit.poser.results.model_auroc import ModelScore, model_auroc, model_roc
from madkit.statistics import crossed_mean, pairwise_wins


def model_scores(aligned, misaligned):
    return [ModelScore(f"a{i}", False, s) for i, s in enumerate(aligned)] + [
        ModelScore(f"m{i}", True, s) for i, s in enumerate(misaligned)
    ]


def test_auroc_and_roc_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    aligned, misaligned = rng.normal(size=15), np.round(rng.normal(0.5, size=9), 1)
    aligned = np.round(aligned, 1)  # with ties
    models = model_scores(aligned, misaligned)
    labels = [s.misaligned for s in models]
    values = [s.score for s in models]
    assert model_auroc(models).value == pytest.approx(roc_auc_score(labels, values))
    false, true, _ = roc_curve(labels, values, drop_intermediate=False)
    np.testing.assert_allclose(model_roc(models), (false, true))


def test_it_is_the_accuracy_over_all_pairs():
    rng = np.random.default_rng(1)
    aligned, misaligned = rng.normal(size=7), rng.normal(0.3, size=5)
    names = [(i, j) for i in range(7) for j in range(5)]
    wins = pairwise_wins([misaligned[j] for _, j in names], [aligned[i] for i, _ in names])
    accuracy = crossed_mean(wins, [i for i, _ in names], [j for _, j in names])
    assert tuple(accuracy) == pytest.approx(tuple(model_auroc(model_scores(aligned, misaligned))))


def test_perfect_separation_has_a_width():
    interval = model_auroc(model_scores(range(6), range(6, 12)))
    assert interval.value == interval.high == 1 and 0.5 < interval.low < 0.9


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(score):
    with pytest.raises(DataError, match="NaN or infinite"):
        model_auroc(model_scores([0.0, score], [1.0]))


def test_both_kinds_of_model_are_needed():
    with pytest.raises(DataError, match="some of both"):
        model_auroc(model_scores([0.0], []))


def test_models_of_one_policy_are_no_independent_models():
    """Three policies a side with six models each, half of whose spread is the policy's; nominal 95%."""
    from madkit.poser.results.policies import units_of

    rng = np.random.default_rng(0)
    names = [[f"{side}_{policy}-{i}" for policy in "xyz" for i in range(6)] for side in ("good", "bad")]
    covered, trials = {True: 0, False: 0}, 200
    for _ in range(trials):
        effects = np.repeat(rng.normal(size=(2, 3)), 6, axis=1)
        a, b = (effects + rng.normal(size=(2, 18))) / 2**0.5
        for shared in (True, False):
            models = [n if shared else n.replace("-", "_") for side in names for n in side]
            scores = [ModelScore(n, i >= 18, x) for i, (n, x) in enumerate(zip(models, [*a, *b], strict=True))]
            found = model_auroc(scores)
            covered[shared] += found.low <= 0.5 <= found.high
    assert 0.91 <= covered[True] / trials <= 0.99
    assert covered[False] / trials < 0.8
    assert units_of([f"aligned-{i}" for i in range(6)]) == [f"aligned-{i}" for i in range(6)]
