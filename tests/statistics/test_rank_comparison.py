"""Average ranks against published critical differences, scipy and brute force."""

import numpy as np
import pytest
import scipy.stats

from madkit.errors import DataError
from madkit.statistics import (
    cliques,
    compare_ranks,
)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_critical_differences_are_those_of_demsars_table(k, q):
    values = np.random.default_rng(0).random((30, k))
    found = compare_ranks(values)
    assert found.critical_difference == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 30)), rel=5e-4)
    assert found.ranks.sum() == pytest.approx(k * (k + 1) / 2)
    if k > 2:
        assert found.p_value == pytest.approx(scipy.stats.friedmanchisquare(*values.T).pvalue)


def test_ranks_of_two_and_of_ties():
    found = compare_ranks([[0.9, 0.5], [0.8, 0.5], [0.7, 0.6], [0.4, 0.5]])
    assert found.ranks.tolist() == [1.25, 1.75]
    assert found.p_value == pytest.approx(scipy.stats.chi2.sf((3 - 1) ** 2 / 4, 1))
    assert compare_ranks([[0.5, 0.5, 0.5]] * 3).p_value == 1
    with pytest.raises(DataError, match=r"shape \(1, 3\)"):
        compare_ranks([[1.0, 2.0, 3.0]])


def test_cliques_are_the_longest_stretches():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranks = np.sort(rng.uniform(1, 8, 8))
        found = cliques(ranks, 2.0)
        brute = {(ranks[i], ranks[j]) for i in range(8) for j in range(i + 1, 8) if ranks[j] - ranks[i] < 2}
        brute = {one for one in brute if not any(o != one and o[0] <= one[0] and one[1] <= o[1] for o in brute)}
        assert set(found) == brute
