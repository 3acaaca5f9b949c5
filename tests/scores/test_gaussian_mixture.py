"""Mixtures of Gaussians against scikit-learn, scipy and what must not change them."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as SklearnMixture

from madkit.errors import DataError
from madkit.scores import (
    GaussianMixture,
    Mahalanobis,
    ScoreCollection,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def turn(d, seed=5):
    return np.linalg.qr(draw(d, d, seed))[0]


def coordinates(trusted, test, dims):
    """Whitened principal coordinates by scikit-learn, in the orientation and order that the mixture is fitted in."""
    pca = PCA(n_components=dims, whiten=True, svd_solver="full").fit(trusted)
    rows = pca.transform(trusted)
    signs = np.where((rows**3).sum(0) < 0, -1, 1)
    rows = rows * signs
    return rows[np.lexsort(rows.T[::-1])], pca.transform(test) * signs


@pytest.mark.parametrize(("n", "d", "components", "dims"), [(400, 8, 3, 4), (400, 8, 2, 8), (90, 120, 3, 16)])
def test_mixture_is_that_of_sklearn(n, d, components, dims):
    trusted, test = draw(n, d), draw(30, d, 1)
    trusted[::3] += 4
    rows, queries = coordinates(trusted, test, dims)
    peer = SklearnMixture(components, n_init=5, max_iter=1000, random_state=7).fit(rows)
    fitted = GaussianMixture(components=components, dims=dims, seed=7).fit(trusted)
    np.testing.assert_allclose(fitted(test), -peer.score_samples(queries), rtol=1e-7)


def test_one_component_is_a_gaussian():
    trusted, test = draw(200, 5), draw(20, 5, 1)
    fitted = GaussianMixture(components=1).fit(trusted)
    variance = 199 / 200 + 1e-6
    expected = 5 * Mahalanobis(rcond=0).fit(trusted)(test) / 2 / variance + 5 / 2 * math.log(2 * math.pi * variance)
    np.testing.assert_allclose(fitted(test), expected, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 3.7, 1e20])
def test_mixture_ignores_scale_shift_and_turns(scale):
    trusted, test = draw(300, 6), draw(20, 6, 1)
    trusted[::2] **= 2
    # One direction hardly varies: a regularisation that is not relative would swamp it.
    trusted[:, 1] *= 1e-4
    fitted = GaussianMixture(components=3).fit(trusted)
    moved = GaussianMixture(components=3).fit(scale * (trusted @ turn(6) + 1))
    np.testing.assert_allclose(moved(scale * (test @ turn(6) + 1)), fitted(test), rtol=1e-6)


def test_mixture_sees_the_gap_between_two_clouds():
    rng = np.random.default_rng(0)
    trusted = rng.normal(size=(300, 3)) + np.repeat([[8, 0, 0], [-8, 0, 0]], 150, axis=0)
    between, inside = np.zeros((1, 3)), np.array([[8.0, 0, 0]])
    for components, sees in ((1, False), (2, True)):
        fitted = GaussianMixture(components=components).fit(trusted)
        assert bool(fitted(between) > fitted(inside) + 5) == sees


def test_mixture_wants_enough_rows():
    with pytest.raises(DataError, match="n=59 .* components=4 Gaussians of dims=14: give at least 60 rows"):
        GaussianMixture(dims=14).fit(draw(59, 100))
    assert GaussianMixture(dims=14).fit(draw(60, 100))(draw(5, 100, 1)).isfinite().all()
    # Of fewer directions than asked for all count.
    assert GaussianMixture(components=1, dims=500).fit(draw(9, 100)).directions.shape == (8, 100)
    with pytest.raises(DataError, match="without variance"):
        GaussianMixture().fit(np.ones((100, 3)))


def test_mixtures_of_one_site_share_the_eigenvectors(monkeypatch):
    calls = []
    whole = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda x: calls.append(len(x)) or whole(x))
    trusted = draw(100, 6)
    ScoreCollection([GaussianMixture(components=k, dims=k) for k in (1, 2, 3)]).fit(trusted)(trusted)
    assert calls == [6]
