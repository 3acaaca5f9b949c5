"""Approximate neighbours: their distances are exact, and the recall that is reported is that of brute force."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from madkit.errors import ConfigError
from madkit.scores import KNearestNeighbours, LocalOutlierFactor, load_score
from madkit.scores.common.approximate_neighbours import IvfIndex


def draw(n, d=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 5 * rng.normal(size=(8, d))[rng.integers(8, size=n)]


def brute_force(queries, rows, k, others=False):
    distances = cdist(queries, rows)
    if others:
        np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, :k]


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss", reason="the extra `faiss` is not installed")


@pytest.mark.parametrize("probes", [1, 2, 10**6])
def test_recall_is_that_of_brute_force(faiss, probes):
    rows = draw(250)
    index = IvfIndex(torch.tensor(rows), probes)
    distances, indices = index.nearest_others(10)
    # What is found is at the distance that is said, and no row is its own neighbour.
    np.testing.assert_allclose(distances, np.take_along_axis(cdist(rows, rows), indices.numpy(), 1), rtol=1e-9)
    assert not (indices == torch.arange(250)[:, None]).any()
    furthest = brute_force(rows, rows, 10, others=True)[:, -1:]
    found = (distances.numpy() <= furthest * (1 + 1e-9)).mean()
    assert index.recall(10) == pytest.approx(found, abs=1e-12)
    assert found == 1 if probes > 250 else 0.3 < found < 1


def test_recall_of_a_sample_is_about_that_of_all(faiss):
    rows = draw(3000)
    index = IvfIndex(torch.tensor(rows), 2)
    furthest = brute_force(rows, rows, 5, others=True)[:, -1:]
    found = (index.nearest_others(5).distances.numpy() <= furthest * (1 + 1e-9)).mean()
    assert 0.3 < found < 0.99
    assert index.recall(5) == pytest.approx(found, abs=0.06)


@pytest.mark.parametrize("make", [LocalOutlierFactor, KNearestNeighbours])
def test_scores_with_all_cells_are_exact_and_know_their_recall(faiss, make, tmp_path):
    trusted, test = draw(400), draw(60, seed=1) * 1.5
    score = make(k=7, index="ivf", probes=400).fit(trusted)
    torch.testing.assert_close(score(test), make(k=7).fit(trusted)(test), rtol=1e-9, atol=0)
    assert float(score.recall) == 1 and score.name.endswith("_k7_ivf_probes400")
    score.save(tmp_path)
    assert load_score(tmp_path)(test).equal(score(test))
    assert json.loads((tmp_path / "config.json").read_text())["libraries"]["faiss-cpu"]


def test_a_low_recall_is_said(faiss):
    with pytest.warns(UserWarning, match=r"lof_ivf_probes1 finds \d\d% of the 20 nearest .* raise probes"):
        assert 0 < float(LocalOutlierFactor(index="ivf", probes=1).fit(draw(500)).recall) < 0.9


def test_rows_that_no_cell_has_are_searched_exactly(faiss):
    """Cells with fewer than k rows, rows beyond float32, and fewer rows than a cell is learned from."""
    rows = torch.tensor(draw(120))
    rows[:2] *= 1e45
    queries = torch.cat([rows[:4], torch.tensor(draw(20, seed=2))])
    found = IvfIndex(rows, 1).nearest(queries, 100)
    assert found.distances.isfinite().all()
    np.testing.assert_allclose(found.distances[:2], brute_force(queries[:2], rows, 100), rtol=1e-9)
    assert KNearestNeighbours(k=1, index="ivf").fit(np.ones((1, 3)))(np.zeros((1, 3))).item() == pytest.approx(3**0.5)


def test_what_is_missing_or_unknown_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="index='hnsw' is unknown: give 'exact' or 'ivf'"):
        KNearestNeighbours(index="hnsw")
    with pytest.raises(ConfigError, match="probes=0 is out of range"):
        LocalOutlierFactor(probes=0)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"needs the package faiss-cpu: pip install 'madkit-lm\[faiss\]'"):
        LocalOutlierFactor(index="ivf")
