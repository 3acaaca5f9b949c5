"""The density of `ConditionalT`, by scipy and by the definition of the posterior."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from madkit.errors import ConfigError, DataError
from madkit.scores import ConditionalT


@pytest.mark.parametrize(("n", "p"), [(30, 3), (8, 12)])
def test_it_is_the_posterior_predictive_density(n, p):
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(n, p)) + 1, rng.normal(size=(4, p)) * 3
    y, new_y = x @ rng.normal(size=(p, p)) + rng.normal(size=(n, p)), rng.normal(size=(4, p))
    score = ConditionalT(penalty=0.05).fit(np.hstack([x, y]))
    a, b = x - x.mean(0), y - y.mean(0)
    precision = a.T @ a + 0.05 * np.square(a).sum() / p * np.eye(p)
    weights = np.linalg.solve(precision, a.T @ b)
    scatter = b.T @ b - weights.T @ precision @ weights
    scatter += np.trace(scatter) / p / n * np.eye(p)
    expected = []
    for u, v in zip(new - x.mean(0), new_y - y.mean(0), strict=True):
        spread = 1 + 1 / n + u @ np.linalg.solve(precision, u)
        expected.append(-multivariate_t.logpdf(v, u @ weights, scatter * spread / (n + 2), df=n + 2))
    np.testing.assert_allclose(score(np.hstack([new, new_y])), expected, rtol=1e-9)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="penalty=-1"):
        ConditionalT(penalty=-1)
    with pytest.raises(DataError, match="d=3"):
        ConditionalT().fit(np.random.default_rng(0).normal(size=(9, 3)))
    with pytest.raises(DataError, match="determines the second"):
        ConditionalT().fit(np.random.default_rng(0).normal(size=(9, 4)) * [1, 1, 0, 0])
