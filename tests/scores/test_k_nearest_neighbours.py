"""Distances to neighbours against scikit-learn, PyOD and what must not change them."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from madkit.errors import DataError
from madkit.scores import (
    KNearestNeighbours,
    load_score,
)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def turn(d, seed=5):
    return np.linalg.qr(draw(d, d, seed))[0]


@pytest.mark.parametrize("reduce", ["kth", "mean"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("n", "d", "k"), [(80, 4, 1), (80, 4, 20), (60, 200, 7), (25, 3, 25)])
def test_neighbours_are_those_of_sklearn(n, d, k, metric, reduce):
    trusted, test = draw(n, d), draw(30, d, 1)
    distances, _ = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(trusted).kneighbors(test)
    expected = distances[:, -1] if reduce == "kth" else distances.mean(1)
    fitted = KNearestNeighbours(k=k, metric=metric, reduce=reduce).fit(trusted)
    np.testing.assert_allclose(fitted(test), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("reduce", "method"), [("kth", "largest"), ("mean", "mean")])
def test_neighbours_are_those_of_pyod(reduce, method):
    from pyod.models.knn import KNN

    trusted, test = draw(80, 4), draw(30, 4, 1)
    expected = KNN(n_neighbors=6, method=method).fit(trusted).decision_function(test)
    np.testing.assert_allclose(KNearestNeighbours(k=6, reduce=reduce).fit(trusted)(test), expected, rtol=1e-9)


def test_cosine_orders_as_published():
    """Sun et al. take the k-th Euclidean distance of vectors divided by their length."""
    trusted, test = draw(80, 4), draw(30, 4, 1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (trusted, test)]
    published = np.sort(pairwise_distances(unit[1], unit[0]), axis=1)[:, 9]
    ours = KNearestNeighbours(k=10, metric="cosine").fit(trusted)(test).numpy()
    np.testing.assert_array_equal(np.argsort(ours), np.argsort(published))
    np.testing.assert_allclose(ours, published**2 / 2, rtol=1e-9)


def test_cosine_keeps_the_digits_of_small_angles():
    angles = np.array([1e-4, 1e-7, 1e-10])
    fitted = KNearestNeighbours(k=1, metric="cosine").fit(np.array([[2.0, 0.0]]))
    values = fitted(np.stack([np.cos(angles), np.sin(angles)], 1) * 3)
    np.testing.assert_allclose(values, 2 * np.sin(angles / 2) ** 2, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_neighbours_follow_the_scale_and_ignore_turns_and_lengths(scale):
    trusted, test, lengths = draw(80, 4), draw(30, 4, 1), np.random.default_rng(2).uniform(0.1, 9, size=(80, 1))
    plain, cosine = KNearestNeighbours(k=5), KNearestNeighbours(k=5, metric="cosine")
    expected = plain.fit(trusted)(test) * scale
    moved = KNearestNeighbours(k=5).fit(scale * trusted @ turn(4) + scale)(scale * test @ turn(4) + scale)
    np.testing.assert_allclose(moved, expected, rtol=1e-8)
    longer = KNearestNeighbours(k=5, metric="cosine").fit(scale * lengths * trusted @ turn(4))(test @ turn(4))
    np.testing.assert_allclose(longer, cosine.fit(trusted)(test), rtol=1e-8)


def test_a_duplicate_is_at_distance_zero():
    trusted = np.repeat(draw(6, 40), 5, axis=0)
    assert KNearestNeighbours(k=5).fit(trusted)(trusted).eq(0).all()
    assert KNearestNeighbours(k=6).fit(trusted)(trusted).gt(0).all()


def test_neighbours_are_checked(tmp_path):
    KNearestNeighbours(k=10).fit(draw(10, 2)).save(tmp_path)
    assert load_score(tmp_path)(draw(5, 2, 1)).shape == (5,)
    with pytest.raises(DataError, match="k=11 is more than the 10 trusted rows"):
        KNearestNeighbours(k=11).fit(draw(10, 2))
    nowhere = np.zeros((3, 2))
    with pytest.raises(DataError, match="3 of 3 rows that are zero"):
        KNearestNeighbours(k=1, metric="cosine").fit(nowhere)
    with pytest.raises(DataError, match="3 of 3 rows that are zero"):
        KNearestNeighbours(k=1, metric="cosine").fit(draw(10, 2))(nowhere)
