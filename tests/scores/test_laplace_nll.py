"""Laplace density against scipy."""

import numpy as np
import scipy.linalg
import scipy.spatial

from madkit.scores import (
    LaplaceNLL,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_laplace_is_scipys_negative_log_density():
    test = draw(20, 7)
    expected = -scipy.stats.laplace.logpdf(test).sum(1)
    np.testing.assert_allclose(LaplaceNLL().fit(draw(3, 7))(test), expected, rtol=1e-12)
