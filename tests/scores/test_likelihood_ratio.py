"""Likelihood ratio against two log densities."""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats

from madkit.scores import (
    LikelihoodRatio,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_likelihood_ratio_is_the_difference_of_two_log_densities():
    trusted, untrusted, test = draw(200, 5), draw(80, 5, 1), draw(20, 5, 2)
    densities = []
    for rows in (trusted, untrusted):
        n, d = rows.shape
        sample, target = np.cov(rows.T), np.eye(d) / d
        norm = np.linalg.norm
        top = np.trace(sample) ** 2 * norm(target) ** 2 / n
        mixed = np.trace(sample @ target)
        keep = 1 - top / (norm(sample) ** 2 * norm(target) ** 2 - mixed**2)
        shrunk = keep * sample + (1 - keep) * mixed / norm(target) ** 2 * target
        densities.append(scipy.stats.multivariate_normal(rows.mean(0), shrunk).logpdf(test))
    fitted = LikelihoodRatio().fit(trusted, untrusted)
    np.testing.assert_allclose(fitted(test), densities[1] - densities[0], rtol=1e-9)


def test_one_feature_has_the_two_normal_densities():
    trusted, untrusted, test = draw(50, 1), 3 * draw(40, 1, 1), draw(20, 1, 2)
    expected = [scipy.stats.norm(rows.mean(), rows.std(ddof=1)).logpdf(test[:, 0]) for rows in (untrusted, trusted)]
    np.testing.assert_allclose(LikelihoodRatio().fit(trusted, untrusted)(test), expected[0] - expected[1], rtol=1e-9)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_rows_without_a_direction_are_shrunk_to_the_identity_at_most(d):
    """The estimated weight of such samples is often below 0, where the covariance would not be positive definite."""
    rng = np.random.default_rng(0)
    beyond = 0
    for _ in range(40):
        rows, test = rng.normal(size=(500, d)), rng.normal(size=(5, d))
        sample = np.cov(rows.T)
        distance = (sample**2).sum() / d - (np.trace(sample) / d) ** 2
        weight = 1 - np.trace(sample) ** 2 / d / 500 / distance
        beyond += weight < 0
        keep = np.clip(weight, 0, 1)
        shrunk = keep * sample + (1 - keep) * np.trace(sample) / d * np.eye(d)
        fitted = LikelihoodRatio().fit(rows, rows + 1)
        densities = [scipy.stats.multivariate_normal(rows.mean(0) + shift, shrunk).logpdf(test) for shift in (1, 0)]
        np.testing.assert_allclose(fitted(test), densities[0] - densities[1], rtol=1e-7, atol=1e-9)
    assert beyond > 10
