"""Isolation forest against scikit-learn."""

import numpy as np
from sklearn.ensemble import IsolationForest as SklearnForest

from madkit.scores import (
    IsolationForest,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_isolation_forest_equals_sklearn_and_ignores_order():
    trusted, test = draw(400, 6), draw(50, 6, 1)
    fitted = IsolationForest(trees=30, rows=64, seed=3).fit(trusted)
    again = IsolationForest(trees=30, rows=64, seed=3).fit(np.random.default_rng(0).permutation(trusted))
    np.testing.assert_array_equal(fitted(test), again(test))
    keys = np.ascontiguousarray(trusted).view(f"V{trusted[0].nbytes}")[:, 0]
    peer = SklearnForest(n_estimators=30, max_samples=64, random_state=3).fit(trusted[np.argsort(keys)])
    np.testing.assert_allclose(fitted(test), -peer.score_samples(test), rtol=1e-9)
    assert not np.allclose(fitted(test), IsolationForest(trees=30, rows=64, seed=4).fit(trusted)(test))
