"""Quantum entropy scoring against scipy's matrix exponential."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from madkit.scores import (
    QuantumEntropy,
    Score,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize("about", ["untrusted", "trusted"])
def test_quantum_entropy_is_the_matrix_exponential(about):
    trusted, untrusted, test = draw(200, 5), draw(80, 5, 1), draw(20, 5, 2)
    root = np.real(scipy.linalg.sqrtm(np.linalg.inv(np.cov(trusted.T))))
    white, z = (untrusted - trusted.mean(0)) @ root, (test - trusted.mean(0)) @ root
    spread = np.cov(white.T) if about == "untrusted" else white.T @ white / len(white)
    weight = scipy.linalg.expm(4 * spread / np.linalg.norm(spread, 2))
    expected = np.einsum("ni,ij,nj->n", z, weight, z) / np.trace(weight)
    fitted = QuantumEntropy(about=about, rcond=0.0).fit(trusted, untrusted)
    np.testing.assert_allclose(fitted(test), expected, rtol=1e-8)


def test_an_infinite_alpha_is_the_limit_of_large_ones(tmp_path):
    trusted, untrusted, test = draw(200, 5), draw(80, 5, 1), draw(20, 5, 2)
    limit = QuantumEntropy(alpha=math.inf).fit(trusted, untrusted)
    np.testing.assert_allclose(limit(test), QuantumEntropy(alpha=1e5).fit(trusted, untrusted)(test), rtol=1e-6)
    limit.save(tmp_path)
    np.testing.assert_array_equal(Score.load(tmp_path)(test), limit(test))


def test_directions_that_tie_for_the_top_share_it():
    """Points on the axes, turned: two directions stand out equally, and rounding must not choose one of them."""
    axes = np.concatenate([np.eye(4), -np.eye(4)])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    trusted, untrusted = axes @ turn, axes * [3, 3, 1, 1] @ turn
    test = draw(20, 4, 2)
    z = test @ turn.T / np.sqrt(2 / 7)  # the variance of the trusted points along each axis
    fitted = QuantumEntropy(alpha=math.inf).fit(trusted, untrusted)
    np.testing.assert_allclose(fitted(test), (z[:, 0] ** 2 + z[:, 1] ** 2) / 2, rtol=1e-6)
    still = QuantumEntropy(alpha=math.inf).fit(trusted, trusted)
    np.testing.assert_allclose(still(test), (z**2).mean(1), rtol=1e-6)
