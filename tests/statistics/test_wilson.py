"""Wilson's interval against scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from madkit.errors import DataError
from madkit.statistics import wilson_interval


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
