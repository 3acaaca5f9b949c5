"""The permutation test of two samples: its distances, its error rate and its power."""

import numpy as np
import pytest
from scipy import stats

from madkit.errors import DataError
from madkit.statistics import two_sample_test


@pytest.mark.parametrize("ties", [False, True])
def test_distances_are_those_of_scipy(ties):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(25, 3))
    if ties:
        x, y = x.round(), y.round()
    expected = [stats.ks_2samp(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(two_sample_test(x, y, draws=9).distances, expected, atol=1e-12)


def test_one_column_agrees_with_the_exact_test():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 1)), rng.normal(0.8, 1, size=(15, 1))
    exact = stats.ks_2samp(x[:, 0], y[:, 0], method="exact").pvalue
    assert two_sample_test(x, y, draws=4000).p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 4000))


def test_the_error_rate_is_the_nominal_one_for_columns_that_depend():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        rows = rng.standard_t(2, size=(60, 1)) + 0.3 * rng.normal(size=(60, 4))
        test = two_sample_test(rows[:35], rows[35:], draws=99)
        found.append(test.p_value)
        assert test.p_value == test.p_values.min()
    for rate in (0.05, 0.2):
        assert np.mean(np.array(found) <= rate) <= rate + 4 * np.sqrt(rate * (1 - rate) / 300)


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match="give"):
        two_sample_test(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(DataError, match="NaN"):
        two_sample_test(np.zeros((3, 1)), [[np.nan]])
