"""Diagonal Mahalanobis distance where features are constant."""

import numpy as np

from madkit.scores import (
    DiagonalMahalanobis,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_diagonal_rules_for_constant_features():
    # A constant that binary fractions cannot hold: its variance must still be exactly zero.
    trusted, test = draw(31, 3), draw(5, 3, 1)
    trusted[:, 1] = 0.1
    z = ((test - trusted.mean(0)) ** 2)[:, [0, 2]] / trusted.var(0)[[0, 2]]
    np.testing.assert_allclose(DiagonalMahalanobis().fit(trusted)(test), z.mean(1), rtol=1e-9)
    ridged = trusted.var(0) + 0.5 * trusted.var(0).mean()
    expected = ((test - trusted.mean(0)) ** 2 / ridged).mean(1)
    np.testing.assert_allclose(DiagonalMahalanobis(ridge=0.5).fit(trusted)(test), expected, rtol=1e-9)
