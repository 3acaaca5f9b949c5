"""Neighbours, principal residual, mixture and logits against independent routes: scikit-learn, SciPy, PyOD."""

import math

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.neighbors import NearestNeighbors

from madkit.errors import ConfigError, DataError
from madkit.scores import (
    Energy,
    GaussianMixture,
    KNearestNeighbours,
    Mahalanobis,
    MaxSoftmax,
    NovelLatents,
    PrincipalResidual,
    Score,
    ScoreCollection,
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


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=100, deadline=None)
@given(x=arrays(float, (6, 3), elements=st.floats(-20, 20)))
def test_max_softmax_is_the_log_odds_against_the_best_answer(x):
    p = scipy.special.softmax(x, axis=1).max(1)
    rest = scipy.special.softmax(x, axis=1).sum(1) - p
    values = MaxSoftmax().fit(x)(x).numpy()
    sure = p > 1 - 1e-6
    np.testing.assert_allclose(values[~sure], np.log(rest / p)[~sure], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(values)), p, rtol=1e-12)


def test_max_softmax_never_saturates():
    gaps = np.array([0, 1, 30, 37, 40, 700, 800, 5000.0])
    x = np.stack([np.zeros(8), gaps], 1)
    assert len(set(scipy.special.softmax(x, axis=1).max(1))) < 8
    np.testing.assert_array_equal(MaxSoftmax().fit(x)(x), -gaps)
    # Three answers, two of them equally far behind.
    assert MaxSoftmax().fit(x[:, :1].repeat(3, 1))(np.array([[0.0, 900, 0]])).item() == math.log(2) - 900
    with pytest.raises(DataError, match="d=1 logit"):
        MaxSoftmax().fit(x[:, :1])


@pytest.mark.parametrize("temperature", [0.01, 1.0, 30.0])
def test_energy_is_minus_the_scaled_logsumexp(temperature):
    x = draw(20, 4) * 10
    expected = -temperature * scipy.special.logsumexp(x / temperature, axis=1)
    np.testing.assert_allclose(Energy(temperature).fit(x)(x), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: KNearestNeighbours(k=0), "k=0"),
        (lambda: KNearestNeighbours(metric="manhattan"), "metric='manhattan'"),
        (lambda: KNearestNeighbours(reduce="max"), "reduce='max'"),
        (lambda: PrincipalResidual(keep=0), "keep=0"),
        (lambda: PrincipalResidual(keep=-3), "keep=-3"),
        (lambda: PrincipalResidual(keep=1.0), "keep=1.0"),
        (lambda: PrincipalResidual(keep=0.0), "keep=0.0"),
        (lambda: PrincipalResidual(keep=True), "keep=True"),
        (lambda: GaussianMixture(components=0), "components=0"),
        (lambda: GaussianMixture(dims=0), "dims=0"),
        (lambda: Energy(temperature=0), "temperature=0"),
        (lambda: Energy(temperature=math.inf), "temperature=inf"),
    ],
)
def test_bad_arguments_are_named(build, named):
    with pytest.raises(ConfigError) as caught:
        build()
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


class Logarithm(NovelLatents):
    """A score that goes wrong: minus infinity where nothing is novel; with an option that is a dictionary."""

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.weights = weights

    def score(self, x):
        return super().score(x).log()


def test_a_score_that_is_not_finite_is_an_error():
    trusted, test = np.eye(4)[:2], np.eye(4)
    for score in (Logarithm(), ScoreCollection([Logarithm()])):
        with pytest.raises(DataError, match="logarithm of 2 of 4 rows is NaN or infinite"):
            score.fit(trusted)(test)
        score(test[2:])
    with pytest.raises(DataError, match="mahalanobis of 1 of 2 rows"):
        Mahalanobis().fit(draw(50, 3))(np.array([[0.0, 0, 0], [1e200, 0, 0]]))
    with pytest.raises(DataError, match="knn_k3 of 1 of 2 rows"):
        KNearestNeighbours(k=3).fit(draw(50, 3))(np.array([[0.0, 0, 0], [1e200, 0, 0]]))


def test_names_can_tell_dictionaries_apart(tmp_path):
    score = Logarithm({"b": 2.0, "a": 0.5})
    assert score.name == "logarithm_weights_a0.5_b2.0"
    assert Logarithm().name == "logarithm"
    score.fit(np.eye(3)[:1]).save(tmp_path)
    assert Score.load(tmp_path).config == {"weights": {"a": 0.5, "b": 2.0}}
