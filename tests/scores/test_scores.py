"""Scores against independent routes: known-correct files, scikit-learn, SciPy, brute force."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.ensemble import IsolationForest as SklearnForest
from sklearn.neighbors import LocalOutlierFactor as SklearnLOF

from madkit.errors import ConfigError, DataError
from madkit.scores import (
    DiagonalMahalanobis,
    IsolationForest,
    LaplaceNLL,
    LikelihoodRatio,
    LocalOutlierFactor,
    Mahalanobis,
    NovelLatents,
    QuantumEntropy,
)
from madkit.scores.common.distance_bounds import CentredRows, lower_bounds
from madkit.scores.common.neighbours import NeighbourIndex

GOLDEN = Path(__file__).parent / "golden"
KNOWN = {
    "mahalanobis": Mahalanobis,
    "mahalanobis_relative": lambda: Mahalanobis(relative=True),
    "lof": LocalOutlierFactor,
    "lof_sklearn": LocalOutlierFactor,
    "lof_simplified": lambda: LocalOutlierFactor(variant="simplified"),
    "quantum_entropy": QuantumEntropy,
    "laplace_nll": LaplaceNLL,
    "likelihood_ratio": LikelihoodRatio,
    "diagonal_mahalanobis_drop": DiagonalMahalanobis,
    "diagonal_mahalanobis_ridge0.1": lambda: DiagonalMahalanobis(ridge=0.1),
    "novel_latents": NovelLatents,
}


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize("case", ["dense", "sae"])
@pytest.mark.parametrize("name", KNOWN)
def test_golden(case, name):
    arrays = np.load(GOLDEN / f"scores_{case}.npz")
    if name not in arrays:
        pytest.skip(f"{name} is not defined for {case}")
    score = KNOWN[name]().fit(arrays["trusted"], arrays["untrusted"])
    np.testing.assert_allclose(score(arrays["test"]), arrays[name], rtol=1e-8, atol=1e-12)


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


@pytest.mark.parametrize("block", [64, 2**23])
@pytest.mark.parametrize("scale", [0, 1e6])
def test_nearest_is_brute_force_with_ties_by_index(monkeypatch, block, scale):
    monkeypatch.setattr("madkit.scores.common.neighbours.BLOCK", block)
    rng = np.random.default_rng(0)
    # Small integers: exact ties everywhere. A far row makes the product's rounding error large.
    pool = rng.integers(0, 3, size=(90, 3)).astype(float)
    pool[0] += scale
    exact = ((pool[:, None] - pool[None]) ** 2).sum(2)
    np.fill_diagonal(exact, np.inf)
    expected = np.argsort(exact, axis=1, kind="stable")[:, :6]
    distances, indices = NeighbourIndex(torch.tensor(pool)).nearest_others(6)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(distances, np.sqrt(np.take_along_axis(exact, expected, 1)))


def test_nearest_may_ask_for_all_rows():
    pool = torch.tensor(draw(12, 3))
    index = NeighbourIndex(pool)
    assert index.nearest(pool, 12).indices.sort(1).values.eq(torch.arange(12)).all()
    assert index.nearest_others(11).distances.isfinite().all()
    assert index.nearest(pool[:0], 4).distances.shape == (0, 4)


def clouds(kind, n=300, d=80):
    rng = np.random.default_rng(0)
    pool, queries = rng.normal(size=(n, d)), rng.normal(size=(60, d))
    if kind == "low rank":
        turn = rng.normal(size=(3, d))
        pool, queries = rng.normal(size=(n, 3)) @ turn, rng.normal(size=(60, 3)) @ turn
    if kind == "clusters":
        centres = 100 * rng.normal(size=(6, d))
        pool, queries = pool + centres[np.arange(n) % 6], queries + centres[np.arange(60) % 6]
    if kind == "far from the origin":
        pool, queries = pool + 1e6, queries + 1e6
    if kind == "outliers":
        pool[:2] *= 1e12
        queries[0] *= 1e40
    if kind == "duplicates":
        pool[100:] = pool[rng.integers(5, size=n - 100)]
        queries[:20] = pool[:20]
    if kind in ("tiny", "huge"):
        scale = 1e-60 if kind == "tiny" else 1e60
        pool, queries = pool * scale, queries * scale
    if kind == "integers":
        pool, queries = rng.integers(0, 2, size=(n, d)).astype(float), rng.integers(0, 2, size=(60, d)).astype(float)
    return torch.tensor(pool), torch.tensor(queries)


KINDS = ["plain", "low rank", "clusters", "far from the origin", "outliers", "duplicates", "tiny", "huge", "integers"]


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_from_low_precision_miss_nobody(kind):
    pool, queries = clouds(kind)
    index = NeighbourIndex(pool)
    for found, rows, others in ((index.nearest(queries, 7), queries, False), (index.nearest_others(7), pool, True)):
        exact = ((rows[:, None] - pool[None]) ** 2).sum(2).numpy()
        if others:
            np.fill_diagonal(exact, np.inf)
        # Distances decide; equally distant rows, up to rounding, may change places.
        expected = np.sqrt(np.sort(exact, axis=1)[:, :7])
        # A cancellation about the origin is not ours: relative to the length of the vectors that differ.
        np.testing.assert_allclose(found.distances, expected, rtol=1e-9, atol=1e-13 * float(pool.abs().max()))
        chosen = np.sqrt(np.take_along_axis(exact, found.indices.numpy(), 1))
        np.testing.assert_allclose(chosen, expected, rtol=1e-9, atol=1e-13 * float(pool.abs().max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_bounds(kind, dtype):
    pool, queries = clouds(kind)
    centre = pool.mean(0)
    around = CentredRows(pool - centre)
    low = lower_bounds(CentredRows(queries - centre, around.scale), around, dtype)
    exact = torch.cdist(queries, pool, compute_mode="donot_use_mm_for_euclid_dist").square() / around.scale**2
    lengths = ((queries - centre).square().sum(1)[:, None] + (pool - centre).square().sum(1)) / around.scale**2
    assert (low.double() <= exact * (1 + 1e-12) + 1e-12 * lengths).all()
    # And they are worth having: within a few roundings of the distance, where the query is not out of all range.
    near = lengths < 1e20
    assert ((exact - low)[near] <= 200 * torch.finfo(dtype).eps * lengths[near]).all()


def test_isolation_forest_equals_sklearn_and_ignores_order():
    trusted, test = draw(400, 6), draw(50, 6, 1)
    fitted = IsolationForest(trees=30, rows=64, seed=3).fit(trusted)
    again = IsolationForest(trees=30, rows=64, seed=3).fit(np.random.default_rng(0).permutation(trusted))
    np.testing.assert_array_equal(fitted(test), again(test))
    keys = np.ascontiguousarray(trusted).view(f"V{trusted[0].nbytes}")[:, 0]
    peer = SklearnForest(n_estimators=30, max_samples=64, random_state=3).fit(trusted[np.argsort(keys)])
    np.testing.assert_allclose(fitted(test), -peer.score_samples(test), rtol=1e-9)
    assert not np.allclose(fitted(test), IsolationForest(trees=30, rows=64, seed=4).fit(trusted)(test))


@pytest.mark.parametrize("about", ["untrusted", "trusted"])
def test_quantum_entropy_is_the_matrix_exponential(about):
    trusted, untrusted, test = draw(200, 5), draw(80, 5, 1), draw(20, 5, 2)
    root = np.real(scipy.linalg.sqrtm(np.linalg.inv(np.cov(trusted.T))))
    white, z = (untrusted - trusted.mean(0)) @ root, (test - trusted.mean(0)) @ root
    spread = np.cov(white.T) if about == "untrusted" else white.T @ white / len(white)
    weight = scipy.linalg.expm(4 * spread / np.linalg.norm(spread, 2))
    expected = np.einsum("ni,ij,nj->n", z, weight, z) / np.trace(weight)
    fitted = QuantumEntropy(about=about, rcond=0.0).fit(trusted, untrusted)
    np.testing.assert_allclose(fitted(test), expected, rtol=1e-8)


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


def test_laplace_is_scipys_negative_log_density():
    test = draw(20, 7)
    expected = -scipy.stats.laplace.logpdf(test).sum(1)
    np.testing.assert_allclose(LaplaceNLL().fit(draw(3, 7))(test), expected, rtol=1e-12)


def test_diagonal_rules_for_constant_features():
    # A constant that binary fractions cannot hold: its variance must still be exactly zero.
    trusted, test = draw(31, 3), draw(5, 3, 1)
    trusted[:, 1] = 0.1
    z = ((test - trusted.mean(0)) ** 2)[:, [0, 2]] / trusted.var(0)[[0, 2]]
    np.testing.assert_allclose(DiagonalMahalanobis().fit(trusted)(test), z.mean(1), rtol=1e-9)
    ridged = trusted.var(0) + 0.5 * trusted.var(0).mean()
    expected = ((test - trusted.mean(0)) ** 2 / ridged).mean(1)
    np.testing.assert_allclose(DiagonalMahalanobis(ridge=0.5).fit(trusted)(test), expected, rtol=1e-9)


def test_novel_latents_counts_by_set_difference():
    rng = np.random.default_rng(0)
    trusted, test = [rng.normal(size=(n, 300)) * (rng.random((n, 300)) < 0.02) for n in (40, 25)]
    seen = {i for row in trusted for i in np.flatnonzero(row)}
    expected = [len(set(np.flatnonzero(row)) - seen) for row in test]
    assert sum(expected) > 0
    assert NovelLatents().fit(trusted)(test).tolist() == expected


@pytest.mark.parametrize("make", [LocalOutlierFactor, lambda: LocalOutlierFactor(variant="simplified")])
def test_lof_is_invariant_to_scale_shift_and_rotation(make):
    trusted, test = draw(80, 4), draw(20, 4, 1)
    turn = np.linalg.qr(draw(4, 4, 2))[0] * 3.7
    moved = make().fit(trusted @ turn + 5)(test @ turn + 5)
    np.testing.assert_allclose(moved, make().fit(trusted)(test), rtol=1e-8)


@pytest.mark.parametrize("rcond", [0.0, 1e-12])
def test_mahalanobis_is_invariant_to_any_affine_map(rcond):
    trusted, test = draw(80, 4), draw(20, 4, 1)
    turn = draw(4, 4, 2)
    moved = Mahalanobis(rcond=rcond).fit(trusted @ turn + 5)(test @ turn + 5)
    np.testing.assert_allclose(moved, Mahalanobis(rcond=rcond).fit(trusted)(test), rtol=1e-7)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Mahalanobis(rcond=2), "rcond=2"),
        (lambda: Mahalanobis(shrinkage="oas"), "shrinkage='oas'"),
        (lambda: Mahalanobis(residual=-1), "residual=-1"),
        (lambda: LocalOutlierFactor(k=0), "k=0"),
        (lambda: LocalOutlierFactor(variant="fast"), "variant='fast'"),
        (lambda: DiagonalMahalanobis(ridge=0), "ridge=0"),
        (lambda: QuantumEntropy(about="test"), "about='test'"),
        (lambda: QuantumEntropy(alpha=-1), "alpha=-1"),
        (lambda: IsolationForest(trees=0), "trees=0"),
    ],
)
def test_bad_arguments_are_named(build, named):
    with pytest.raises(ConfigError) as caught:
        build()
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_k_must_be_less_than_the_number_of_trusted_rows():
    LocalOutlierFactor(k=9).fit(draw(10, 2))
    with pytest.raises(DataError, match=r"k=10 is not less than the 10 trusted rows"):
        LocalOutlierFactor(k=10).fit(draw(10, 2))


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
