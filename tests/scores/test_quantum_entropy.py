"""Quantum entropy scoring against scipy's matrix exponential."""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from madkit.scores import (
    QuantumEntropy,
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
