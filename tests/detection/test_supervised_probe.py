"""The ceiling: a probe that is told the labels, but never judged by names that it knows."""

import numpy as np
import pytest

from madkit.detection.supervised_probe import probe
from madkit.errors import DataError
from madkit.statistics import auroc


def speakers(n=600, d=8, gap=0.0, seed=0, twins=False):
    """Vectors in which every speaker has a place of their own, and Bobs lie `gap` further along one direction."""
    rng = np.random.default_rng(seed)
    who = rng.integers(24, size=n)
    bob = who >= 12
    places = 3 * rng.normal(size=(24, d))
    if twins:
        # The four Alices and the four Bobs of every block are the same four places.
        places = np.concatenate([places[:4]] * 6) + 0.1 * rng.normal(size=(24, d))
    x = rng.normal(size=(n, d)) + places[who]
    x[:, 0] = rng.normal(size=n) + gap * bob
    return x, bob, who


def test_the_ceiling_finds_a_direction_and_does_not_pass_by_names():
    x, bob, names = speakers(gap=3)
    assert auroc(probe(x, bob, names), bob).value > 0.9
    # Told the names apart it would know all; held-out names keep it near chance.
    blind = [speakers(gap=0, seed=seed) for seed in range(8)]
    assert abs(np.mean([auroc(probe(*one), one[1]).value for one in blind]) - 0.5) < 0.1
    x, bob, _ = blind[0]
    assert auroc(probe(x, bob, np.arange(len(x))), bob).value > 0.65


def test_the_ceiling_is_at_chance_where_every_name_has_a_twin():
    """Left out one by one, a name would be judged by its twin of the other kind, and always wrongly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    found, alone = [], []
    for seed in range(4):
        x, bob, names = speakers(seed=seed, twins=True)
        found.append(auroc(probe(x, bob, names), bob).value)
        model, options = LogisticRegression(C=100), {"cv": LeaveOneGroupOut(), "method": "decision_function"}
        alone.append(auroc(cross_val_predict(model, x, bob, groups=names, **options), bob).value)
    assert abs(np.mean(found) - 0.5) < 0.1
    assert np.mean(alone) < 0.3


def test_the_ceiling_is_scikit_learns_regression_on_held_out_names():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, bob, names = speakers(gap=1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = PredefinedSplit(names % 12 // 4)
    expected = cross_val_predict(model, x, bob, cv=folds, method="decision_function")
    np.testing.assert_allclose(probe(x, bob, names), expected, rtol=1e-6, atol=1e-9)


def test_the_ceiling_needs_two_names_of_a_kind():
    x, bob, _ = speakers()
    with pytest.raises(DataError, match="two names or more of each kind, there are 1 normal"):
        probe(x, bob, bob.astype(int))
