"""Local outlier factor against scikit-learn, brute force and what must not change it."""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
from sklearn.neighbors import LocalOutlierFactor as SklearnLOF

from madkit.errors import DataError
from madkit.scores import (
    LocalOutlierFactor,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize("kind", ["plain", "duplicates", "high-dimensional", "far from the origin"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_lof_equals_sklearn(kind, k):
    trusted, test = draw(120, 4), draw(50, 4, 1)
    if kind == "duplicates":
        trusted = np.concatenate([np.repeat(trusted[:5], 30, axis=0), trusted])
        test = np.concatenate([test, trusted[:3]])
    if kind == "high-dimensional":
        trusted, test = draw(120, 64), draw(50, 64, 1)
    if kind == "far from the origin":
        trusted, test = trusted + 1e3, test + 1e3
    # The tree takes distances from differences, as we do; brute force loses digits far from the origin.
    peer = SklearnLOF(n_neighbors=k, novelty=True, algorithm="kd_tree").fit(trusted)
    np.testing.assert_allclose(LocalOutlierFactor(k=k).fit(trusted)(test), -peer.score_samples(test), rtol=1e-8)


def test_simplified_lof_is_the_ratio_of_k_distances():
    trusted, test, k = draw(60, 3), draw(20, 3, 1), 7
    inner = np.sort(scipy.spatial.distance.cdist(trusted, trusted), axis=1)[:, k]
    outer = scipy.spatial.distance.cdist(test, trusted)
    order = np.argsort(outer, axis=1)[:, :k]
    expected = (np.take_along_axis(outer, order, 1)[:, -1:] / inner[order]).mean(1)
    score = LocalOutlierFactor(k=k, variant="simplified").fit(trusted)
    np.testing.assert_allclose(score(test), expected, rtol=1e-8)


@pytest.mark.parametrize("variant", ["breunig", "simplified"])
def test_lof_with_ties_does_not_depend_on_the_order_of_the_pool(variant):
    grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(7.0)), -1).reshape(-1, 2)
    test = np.array([[3.5, 3.5], [3.0, 3.0], [-1.0, 2.0]])
    rng = np.random.default_rng(0)
    scores = [LocalOutlierFactor(k=5, variant=variant).fit(rng.permutation(grid))(test).numpy() for _ in range(5)]
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-12)


@pytest.mark.parametrize("make", [LocalOutlierFactor, lambda: LocalOutlierFactor(variant="simplified")])
def test_lof_is_invariant_to_scale_shift_and_rotation(make):
    trusted, test = draw(80, 4), draw(20, 4, 1)
    turn = np.linalg.qr(draw(4, 4, 2))[0] * 3.7
    moved = make().fit(trusted @ turn + 5)(test @ turn + 5)
    np.testing.assert_allclose(moved, make().fit(trusted)(test), rtol=1e-8)


def test_k_must_be_less_than_the_number_of_trusted_rows():
    LocalOutlierFactor(k=9).fit(draw(10, 2))
    with pytest.raises(DataError, match=r"k=10 is not less than the 10 trusted rows"):
        LocalOutlierFactor(k=10).fit(draw(10, 2))
