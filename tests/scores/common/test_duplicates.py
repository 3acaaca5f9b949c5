"""More than k equal trusted rows are named when a score is fitted, and the numbers stay those of scikit-learn."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor as SklearnLOF

from madkit.scores import KNearestNeighbours, LocalOutlierFactor
from madkit.scores.common.duplicates import equal_rows
from madkit.streaming.pool import canonical_order


def trusted(group, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.repeat(rng.normal(size=(1, 3)), group, axis=0), rng.normal(size=(40, 3))])
    return rng.permutation(rows)


@pytest.mark.parametrize("score", [LocalOutlierFactor, KNearestNeighbours])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_more_than_k_equal_rows_are_named(score, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(k=5).fit(trusted(5).astype(dtype))
    with pytest.warns(UserWarning, match=r"k5: 6 of 46 trusted rows are duplicates, up to 6 .* raise k to 6 or more"):
        score(k=5).fit(trusted(6).astype(dtype))


def test_equal_rows_are_counted_whatever_the_order():
    rng = np.random.default_rng(1)
    rows = rng.integers(-1, 2, size=(200, 3)).astype(float)
    rows[rows == 0] = rng.choice([0.0, -0.0], size=int((rows == 0).sum()))
    _, counts = np.unique(rows + 0.0, axis=0, return_counts=True)
    for more_than in (1, 5, 9, 100):
        large = counts[counts > more_than]
        expected = int(large.sum()), int(large.max(initial=0))
        assert equal_rows(canonical_order(torch.from_numpy(rows.copy())), more_than) == expected


@pytest.mark.filterwarnings("ignore:.*duplicates")
def test_the_way_out_leads_out():
    """With k as large as the group, scores have a scale again; as in scikit-learn they have none before."""
    rows = trusted(30)
    different, counts = np.unique(rows, axis=0, return_counts=True)
    test = np.stack([different[counts.argmax()] + 1e-4, np.full(3, 50.0)])
    for k in (20, 30):
        scores = LocalOutlierFactor(k=k).fit(rows)(test).numpy()
        expected = -SklearnLOF(n_neighbors=k, novelty=True).fit(rows).score_samples(test)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
        assert scores.max() < 1e3 if k == 30 else scores.min() > 1e5
