"""Novel latents by set difference."""

import numpy as np

from madkit.scores import (
    NovelLatents,
)


def test_novel_latents_counts_by_set_difference():
    rng = np.random.default_rng(0)
    trusted, test = [rng.normal(size=(n, 300)) * (rng.random((n, 300)) < 0.02) for n in (40, 25)]
    seen = {i for row in trusted for i in np.flatnonzero(row)}
    expected = [len(set(np.flatnonzero(row)) - seen) for row in test]
    assert sum(expected) > 0
    assert NovelLatents().fit(trusted)(test).tolist() == expected
