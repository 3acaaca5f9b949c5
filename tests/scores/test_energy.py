"""Energy against scipy."""

import numpy as np
import pytest
import scipy.special

from madkit.scores import (
    Energy,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 30.0])
def test_energy_is_minus_the_scaled_logsumexp(temperature):
    x = draw(20, 4) * 10
    expected = -temperature * scipy.special.logsumexp(x / temperature, axis=1)
    np.testing.assert_allclose(Energy(temperature).fit(x)(x), expected, rtol=1e-12)
