"""Likelihood ratio against two log densities."""

import numpy as np
import scipy.linalg
import scipy.spatial

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
