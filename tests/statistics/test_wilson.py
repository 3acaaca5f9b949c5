"""Wilson's interval against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from madkit.errors import DataError
from madkit.statistics import wilson_interval
from madkit.statistics.alarm_rates import alarm_rates


@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_wilson_is_that_of_scipy(n, share):
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(method="wilson")
    interval = wilson_interval(k, n)
    assert interval.value == k / n
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)


def test_impossible_counts_are_refused():
    for correct, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(DataError):
            wilson_interval(correct, n)


def test_prompts_of_one_statement_are_worth_one():
    """Each statement has its own share of alarms; that of one says little of the mean of all, which is a fifth."""
    rng = np.random.default_rng(0)
    of_statements = rng.beta(0.4, 1.6, size=400)
    alarms = rng.random((400, 300)) < of_statements[:, None]
    found = np.array(alarm_rates(alarms, np.zeros(300)))
    np.testing.assert_allclose(found[:, 0], alarms.mean(1))
    assert ((found[:, 1] <= 0.2) & (found[:, 2] >= 0.2)).mean() > 0.9
    independent = np.array(alarm_rates(alarms))
    assert ((independent[:, 1] <= 0.2) & (independent[:, 2] >= 0.2)).mean() < 0.3
    # That it is of one speaker too adds nothing; of many speakers, it is still one statement.
    for further in (np.zeros(300), np.arange(300) % 9):
        np.testing.assert_array_equal(alarm_rates(alarms, (np.zeros(300), further)), found)
    np.testing.assert_allclose(alarm_rates(alarms[:, :1], [["q"]]), alarm_rates(alarms[:, :1]))
