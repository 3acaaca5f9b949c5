"""Nearest neighbours and the bounds that find them, against brute force."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from madkit.scores.common.centred_rows import CentredRows
from madkit.scores.common.chosen_products import chosen_products
from madkit.scores.common.distance_bounds import lower_bounds, products_with_each_other, upper_bounds
from madkit.scores.common.neighbours import NeighbourIndex


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


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
    around, asked = CentredRows(pool, centre), CentredRows(queries, centre, CentredRows(pool, centre).scale)
    bounds = lower_bounds(asked, around, dtype)
    low = bounds.beyond.double() + bounds.own.double()[:, None]
    exact = torch.cdist(queries, pool, compute_mode="donot_use_mm_for_euclid_dist").square() / around.scale**2
    squared = exact.clone()
    lengths = ((queries - centre).square().sum(1)[:, None] + (pool - centre).square().sum(1)) / around.scale**2
    assert (low.double() <= exact * (1 + 1e-12) + 1e-12 * lengths).all()
    # And they are worth having: within a few roundings of the distance, where the query is not out of all range.
    near = lengths < 1e20
    product = ((queries - centre) @ (pool - centre).T) / around.scale**2
    if dtype == torch.bfloat16:
        # Of a negative product all that is used is its sign.
        exact += 2 * product.clamp(max=0)
    assert ((exact - low)[near] <= 200 * torch.finfo(dtype).eps * lengths[near]).all()
    # The upper ones lie as near, where they say anything.
    everything = torch.arange(len(pool)).expand(len(queries), -1)
    high = upper_bounds(bounds.beyond, everything, asked, around, dtype)
    assert (high >= squared * (1 - 1e-12) - 1e-12 * lengths).all()
    known = near & ((product > 0.02 * lengths) if dtype == torch.bfloat16 else near)
    assert ((high - squared)[known] <= 200 * torch.finfo(dtype).eps * lengths[known]).all()


@pytest.fixture
def usual_precision():
    """What tests choose for float32 products is forgotten after them."""
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", ["cuda", "mkldnn"])
@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9")
def test_a_precision_that_was_set_for_a_backend_is_that_afterwards(usual_precision, name):
    matmul = getattr(torch.backends, name).matmul
    matmul.fp32_precision = "tf32"  # torch's older function cannot say so, and raises
    pool = torch.tensor(draw(40, 3))
    assert NeighbourIndex(pool).nearest(pool, 1).indices[:, 0].tolist() == list(range(40))
    assert matmul.fp32_precision == "tf32"


def test_a_precision_that_was_set_for_all_is_that_afterwards(usual_precision):
    torch.set_float32_matmul_precision("medium")
    pool = torch.tensor(draw(40, 3))
    assert NeighbourIndex(pool).nearest(pool, 1).indices[:, 0].tolist() == list(range(40))
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_of_many_features_are_searched_as_by_brute_force(monkeypatch, kind, low):
    """Products of chosen pairs, thresholds, blocks, products of rows with each other: with few rows none is used."""
    monkeypatch.setattr("madkit.scores.common.neighbours.precisions", lambda device: [low, torch.float64])
    monkeypatch.setattr("madkit.scores.common.neighbours.CACHED", 2**17)
    monkeypatch.setattr("madkit.streaming.covariance.BLOCK", 256)
    monkeypatch.setattr("madkit.scores.common.chosen_products.CACHED", 2**15)
    pool, queries = clouds(kind, n=1003, d=150)
    index = NeighbourIndex(pool)
    for found, rows, others in ((index.nearest(queries, 4), queries, False), (index.nearest_others(4), pool, True)):
        exact = cdist(rows.numpy(), pool.numpy())
        if others:
            np.fill_diagonal(exact, np.inf)
        expected = np.sort(exact, axis=1)[:, :4]
        about = 1e-13 * float(pool.abs().max())
        np.testing.assert_allclose(found.distances, expected, rtol=1e-9, atol=about)
        np.testing.assert_allclose(np.take_along_axis(exact, found.indices.numpy(), 1), expected, rtol=1e-9, atol=about)
        assert all(len(set(row)) == 4 for row in found.indices.tolist())


def test_a_search_by_blocks_is_that_of_all_at_once(monkeypatch):
    pool, queries = clouds("clusters", n=500, d=140)
    whole = NeighbourIndex(pool)
    expected = whole.nearest_others(5), whole.nearest(queries, 5)
    monkeypatch.setattr("madkit.scores.common.neighbours.BLOCK", 1500)
    monkeypatch.setattr("madkit.scores.common.neighbours.KEPT", 0)
    parts = NeighbourIndex(pool)
    for found, other in zip((parts.nearest_others(5), parts.nearest(queries, 5)), expected, strict=True):
        assert found.indices.equal(other.indices)
        torch.testing.assert_close(found.distances, other.distances, rtol=1e-12, atol=0)


@pytest.mark.parametrize("cached", [2**6, 2**19])
def test_chosen_products_are_those_of_all_pairs(monkeypatch, cached):
    monkeypatch.setattr("madkit.scores.common.chosen_products.CACHED", cached)
    rng = np.random.default_rng(0)
    pool, rows = torch.tensor(draw(50, 70)), torch.tensor(draw(20, 70, 1))
    centre = pool.mean(0)
    chosen = torch.tensor(np.sort([rng.choice(50, 9, replace=False) for _ in rows], axis=1))
    wanted = torch.tensor(rng.random((20, 9)) < 0.6)
    wanted[3], wanted[4] = False, True
    expected = ((rows - centre) @ (pool - centre).T).gather(1, chosen) * wanted
    found = chosen_products(CentredRows(rows, centre), CentredRows(pool, centre), chosen, wanted)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_products_with_each_other_are_a_product(dtype):
    rows = torch.tensor(draw(1100, 40))
    centred = CentredRows(rows, rows.mean(0))
    copy = centred.copy(dtype)[0]
    found = products_with_each_other(centred, dtype)
    torch.testing.assert_close(found.double(), copy.double() @ copy.double().T, rtol=2**-7, atol=1e-4)
    assert found.dtype == dtype


def test_what_a_copy_lost_is_known():
    rows = torch.tensor(draw(70, 40) * 1e12)
    centred = CentredRows(rows, rows.mean(0))
    copy, lost = centred.copy(torch.bfloat16)
    apart = (copy.double() * centred.scale - (rows - rows.mean(0))).norm(dim=1) / (rows - rows.mean(0)).norm(dim=1)
    assert (lost >= apart).all()
    assert (lost <= apart + 1e-6).all()
