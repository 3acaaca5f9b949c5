"""The penalty is what other routes to the same detectors give, and so is its gradient."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from madkit.derived import Conditional
from madkit.errors import ConfigError
from madkit.obfuscation.evaded_distance import EvadedConditional, EvadedDelta, EvadedMahalanobis
from madkit.obfuscation.evaded_probe import EvadedProbe
from madkit.obfuscation.evasion import KINDS, Evasion
from madkit.obfuscation.site_vectors import SiteVectors
from madkit.scores import Mahalanobis

D, SITES = 5, 2


def draw(n, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, D))
    tuned = base @ rng.normal(size=(D, D)) * 0.3 + rng.normal(size=(n, D)) + shift
    return SiteVectors(torch.tensor(base), torch.tensor(tuned))


@pytest.fixture
def pools():
    """Vectors of trusted, normal and anomalous prompts at each site."""
    kinds = ((80, 0.0), (60, 0.2), (50, 1.0))
    return [[draw(n, shift, 10 * i + j) for j in range(SITES)] for i, (n, shift) in enumerate(kinds)]


def distances(rows, trusted):
    """Squared Mahalanobis distances by numpy."""
    centred, inverse = rows - trusted.mean(0), np.linalg.inv(np.cov(trusted.T))
    return np.einsum("bi,ij,bj->b", centred, inverse, centred) / rows.shape[1]


def test_distances_are_those_that_other_routes_give(pools):
    (trusted, *_), (normal, *_), (anomalous, *_) = pools
    fitted = [EvadedMahalanobis(), EvadedDelta(), EvadedConditional()]
    for detector in fitted:
        detector.fit(trusted, normal, anomalous)
    found = [detector.scores(anomalous).numpy() for detector in fitted]
    np.testing.assert_allclose(found[0], distances(anomalous.tuned.numpy(), trusted.tuned.numpy()), rtol=1e-9)
    delta = [(x.tuned - x.base).numpy() for x in (anomalous, trusted)]
    np.testing.assert_allclose(found[1], distances(*delta), rtol=1e-9)
    conditional = Conditional(studentised=True)
    conditional.update(trusted)
    expected = Mahalanobis().fit(conditional(trusted, trusted=True))(conditional(anomalous))
    np.testing.assert_allclose(found[2], expected.numpy(), rtol=1e-12)


def test_the_probe_is_a_ridge_regression_on_what_it_is_told(pools):
    (trusted, *_), (normal, *_), (anomalous, *_) = pools
    probe = EvadedProbe()
    probe.fit(trusted, normal, anomalous)
    x = torch.cat([normal.tuned, anomalous.tuned]).numpy()
    told = np.repeat([0.0, 1.0], [len(normal.tuned), len(anomalous.tuned)])
    direction = probe.state()["direction"].numpy()
    # The penalty that cross-validation chose is seen in the shortfall of the normal equations.
    centred, left = x - x.mean(0), told - told.mean() - (x - x.mean(0)) @ direction
    alpha = (centred.T @ left) @ direction / (direction @ direction)
    np.testing.assert_allclose(direction, Ridge(alpha=alpha).fit(x, told).coef_, rtol=1e-6)
    assert alpha >= 0 and probe.scores(anomalous).mean() > probe.scores(normal).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_excess_is_in_standard_deviations_of_normal_prompts(kind, pools):
    evasion = Evasion([kind], SITES)
    evasion.fit(*pools)
    detectors = [KINDS[kind]() for _ in range(SITES)]
    for detector, *vectors in zip(detectors, *pools, strict=True):
        detector.fit(*vectors)
    for site in range(SITES + 1):
        scores = []
        for sites in pools[1:]:
            each = torch.stack([d.scores(x) for d, x in zip(detectors, sites, strict=True)])
            own = (each.mean(0) if site == SITES else each[site]).numpy()
            scores.append(np.log(own) if KINDS[kind].is_positive else own)
        expected = (scores[1].mean() - scores[0].mean()) / scores[0].std(ddof=1)
        assert evasion.excess[0, site] == pytest.approx(expected, rel=1e-9)
    assert bool((evasion.excess > 0).all())


def test_gradients_are_those_of_finite_differences_and_point_to_fewer_alarms(pools):
    evasion = Evasion(list(KINDS), SITES)
    evasion.fit(*pools)
    tuned = [x.tuned.clone().requires_grad_() for x in pools[2]]

    def paid(*sites):
        return evasion.penalty([SiteVectors(x.base, y) for x, y in zip(pools[2], sites, strict=True)])

    assert torch.autograd.gradcheck(paid, tuned, eps=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(paid(*tuned).sum(), tuned)
    moved = [SiteVectors(x.base, x.tuned - 0.5 * g) for x, g in zip(pools[2], gradients, strict=True)]
    before = evasion.excess.clone()
    evasion.fit(pools[0], pools[1], moved)
    assert bool((evasion.excess.mean(1) < before.mean(1)).all())


def test_what_stands_out_too_little_is_driven_the_other_way(pools):
    evasion = Evasion(["mahalanobis"], SITES)
    still = [
        SiteVectors(x.base, trusted.tuned[: len(x.tuned)] * 0.1) for x, trusted in zip(pools[2], pools[0], strict=True)
    ]
    evasion.fit(pools[0], pools[1], still)
    assert bool((evasion.excess < 0).all())
    tuned = [x.tuned.clone().requires_grad_() for x in still]
    paid = evasion.penalty([SiteVectors(x.base, y) for x, y in zip(still, tuned, strict=True)])
    gradients = torch.autograd.grad(paid.sum(), tuned)
    moved = [SiteVectors(x.base, x.tuned - 0.1 * g) for x, g in zip(still, gradients, strict=True)]
    before = evasion.excess.clone()
    evasion.fit(pools[0], pools[1], moved)
    assert bool((evasion.excess > before).all())


def test_a_restored_state_gives_the_same_penalty(pools):
    one, other = Evasion(list(KINDS), SITES), Evasion(list(KINDS), SITES)
    one.fit(*pools)
    assert not other.fitted
    other.restore(one.state(), torch.device("cpu"))
    assert torch.equal(one.penalty(pools[2]), other.penalty(pools[2])) and torch.equal(one.excess, other.excess)
    with pytest.raises(ConfigError, match="against"):
        Evasion(["delta"], SITES).restore(one.state(), torch.device("cpu"))


@pytest.mark.parametrize("kinds", [[], ["lof"], ["delta", "delta"]])
def test_detectors_that_there_are_not_are_refused(kinds):
    with pytest.raises(ConfigError, match="mahalanobis, delta, conditional, probe"):
        Evasion(kinds, SITES)
