"""The residual of principal directions against PCA."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.decomposition import PCA

from madkit.errors import DataError
from madkit.scores import (
    Mahalanobis,
    PrincipalResidual,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize("keep", [1, 3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("n", "d"), [(200, 8), (12, 60)])
def test_residual_is_what_pca_cannot_reconstruct(n, d, keep):
    trusted, test = draw(n, d), draw(30, d, 1)
    pca = PCA(n_components=keep, svd_solver="full").fit(trusted)
    expected = np.linalg.norm(test - pca.inverse_transform(pca.transform(test)), axis=1)
    fitted = PrincipalResidual(keep=keep).fit(trusted)
    assert len(fitted.directions) == pca.n_components_
    np.testing.assert_allclose(fitted(test), expected, rtol=1e-8)


def test_residual_is_the_rest_of_the_distance_to_the_mean():
    """Pythagoras, with Mahalanobis distances of a spherical cloud for the part inside."""
    rng = np.random.default_rng(0)
    trusted = np.zeros((400, 5))
    trusted[:200, 0] = trusted[200:, 1] = np.repeat([3.0, -3.0], 100)
    test = rng.normal(size=(20, 5))
    inside = Mahalanobis().fit(trusted)(test) * 5 * trusted[:, 0].var(ddof=1)
    outside = PrincipalResidual(keep=2).fit(trusted)(test)
    np.testing.assert_allclose(inside + outside**2, (test**2).sum(1), rtol=1e-9)


@settings(max_examples=30)
@given(shift=arrays(float, 2, elements=st.floats(-100, 100)))
def test_residual_is_blind_inside_the_kept_directions(shift):
    rng = np.random.default_rng(0)
    trusted, test = rng.normal(size=(50, 4)) * [9, 8, 0.1, 0.2], rng.normal(size=(10, 4))
    fitted = PrincipalResidual(keep=2).fit(trusted)
    np.testing.assert_allclose(fitted(test + shift @ fitted.directions.numpy()), fitted(test), rtol=1e-9)


def test_more_directions_than_vary_are_those_that_vary():
    trusted, test = draw(6, 30), draw(10, 30, 1)
    most, all_that_vary = (PrincipalResidual(keep=keep).fit(trusted) for keep in (29, 5))
    assert torch.equal(most(test), all_that_vary(test))
    for keep in (3, 7, 0.999999):
        with pytest.raises(DataError, match=f"keep={keep} keeps all d=3 directions and leaves nothing"):
            PrincipalResidual(keep=keep).fit(draw(50, 3))
