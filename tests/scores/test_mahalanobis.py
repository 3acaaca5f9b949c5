"""Mahalanobis distance against scipy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from madkit.errors import DataError
from madkit.scores import (
    DiagonalMahalanobis,
    LaplaceNLL,
    LocalOutlierFactor,
    Mahalanobis,
)
from madkit.scores.common.projection import squared_residual


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(("n", "d"), [(200, 6), (20, 40)])
def test_mahalanobis_is_the_pseudo_inverse_form(n, d):
    trusted, test = draw(n, d), draw(30, d, 1)
    centred = test - trusted.mean(0)
    inverse = np.linalg.pinv(np.cov(trusted.T), rcond=1e-3, hermitian=True)
    expected = np.einsum("ni,ij,nj->n", centred, inverse, centred) / d
    np.testing.assert_allclose(Mahalanobis().fit(trusted)(test), expected, rtol=1e-9)


def test_mahalanobis_relative_leaves_constant_features_out():
    trusted, test = draw(100, 5), draw(10, 5, 1)
    trusted[:, 2] = 0.1
    keep = [0, 1, 3, 4]
    whole = Mahalanobis(relative=True).fit(trusted)(test)
    part = Mahalanobis(relative=True).fit(trusted[:, keep])(test[:, keep])
    np.testing.assert_allclose(whole, part * 4 / 5, rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(300, 8), (15, 40)])
def test_ledoit_wolf_equals_sklearn(n, d):
    trusted, test = draw(n, d), draw(30, d, 1)
    covariance, _ = ledoit_wolf(trusted)
    centred = test - trusted.mean(0)
    expected = (centred * np.linalg.solve(covariance, centred.T).T).sum(1) / d
    score = Mahalanobis(shrinkage="ledoit-wolf")
    for rows in np.array_split(trusted, 5):
        score.update(rows)
    score.finalize()
    np.testing.assert_allclose(score(test), expected, rtol=1e-9)


def test_residual_counts_distance_outside_the_span():
    trusted = np.zeros((50, 3))
    trusted[:, 0] = np.random.default_rng(0).normal(size=50)
    test = np.array([[0.0, 3.0, 4.0]])
    plain, seeing = Mahalanobis().fit(trusted)(test), Mahalanobis(residual=2).fit(trusted)(test)
    variance = trusted[:, 0].var(ddof=1)
    assert (seeing - plain).item() == pytest.approx(2 * 25 / (1e-3 * variance) / 3)


@pytest.mark.parametrize("rcond", [0.0, 1e-12])
def test_mahalanobis_is_invariant_to_any_affine_map(rcond):
    trusted, test = draw(80, 4), draw(20, 4, 1)
    turn = draw(4, 4, 2)
    moved = Mahalanobis(rcond=rcond).fit(trusted @ turn + 5)(test @ turn + 5)
    np.testing.assert_allclose(moved, Mahalanobis(rcond=rcond).fit(trusted)(test), rtol=1e-7)


@pytest.mark.parametrize("make", [Mahalanobis, DiagonalMahalanobis])
@pytest.mark.parametrize("n", [1, 5])
def test_equal_rows_have_no_distance(make, n):
    with pytest.raises(DataError, match=f"n={n}"):
        make().fit(np.full((n, 3), 0.1))


def test_one_feature_and_two_rows_are_enough():
    value = Mahalanobis().fit(np.array([[0.0], [2.0]]))(np.array([[3.0]])).item()
    assert value == pytest.approx(2.0)
    # The far row is 4 from its neighbour, which is 2 from its own.
    assert LocalOutlierFactor(k=1).fit(np.array([[0.0], [2.0]]))(np.array([[6.0]])).item() == pytest.approx(2.0)
    assert LaplaceNLL().fit(np.zeros((1, 1)))(np.zeros((1, 1))).item() == pytest.approx(math.log(2))


def test_what_directions_leave_is_the_rest_and_nothing_where_they_are_all():
    turn, x = torch.tensor(np.linalg.qr(draw(6, 6))[0]), torch.tensor(draw(20, 6, 1))
    mean = x.mean(0)
    for kept in range(7):
        expected = ((x - mean) @ turn[kept:].T).square().sum(1)
        torch.testing.assert_close(squared_residual(x, mean, turn[:kept]), expected, rtol=1e-9, atol=1e-12)
    assert not squared_residual(x, mean, turn).any()
