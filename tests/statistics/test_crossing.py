"""The dose at which a response reaches a level: against interpolation, scikit-learn, and a simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from madkit.errors import DataError
from madkit.statistics.crossing import crossing, monotone
from madkit.statistics.interval import Interval


def sure(values):
    return [Interval(v, v, v) for v in map(float, values)]


@given(st.lists(st.floats(0.5, 1), min_size=3, max_size=12), st.floats(0.55, 0.95), st.integers(0, 99))
@settings(max_examples=60)
def test_as_scikit_learn_and_a_fine_grid(y, level, seed):
    x = np.random.default_rng(seed).permutation(len(y)) * 0.5
    fitted = IsotonicRegression().fit(x, y)
    np.testing.assert_allclose(monotone(x, y)[1], fitted.predict(np.sort(x)), atol=1e-12)
    # A pooled mean that should be the level may be a rounding error beside it, on either side.
    assume(np.abs(fitted.predict(x) - level).min() > 1e-9)
    found = crossing(sure(x), sure(y), level, draws=2).value
    grid = np.linspace(x.min(), x.max(), 20001)
    above = fitted.predict(grid) >= level
    if not above.any():
        assert found == math.inf
    elif above[0]:
        assert found == -math.inf
    else:
        assert found == pytest.approx(grid[above.argmax()], abs=1e-3)


def test_the_interval_holds_what_it_says():
    """AUROC rises from .5 to 1 over a quirkiness of 0 to 5 and reaches .9 at 4; prompts are the same at all doses."""
    rng = np.random.default_rng(1)
    x, error = np.arange(6.0), 0.02
    held = []
    for _ in range(300):
        y = 0.5 + x / 10 + error * rng.standard_normal()
        intervals = [Interval(v, v - 1.96 * error, v + 1.96 * error) for v in y]
        _, low, high = crossing(sure(x), intervals, 0.9, draws=200)
        held.append(low <= 4 <= high)
    assert 0.91 <= np.mean(held) <= 0.99


def test_a_level_that_is_not_surely_reached_has_no_upper_end():
    response = [Interval(0.6, 0.55, 0.65), Interval(0.91, 0.86, 0.96)]
    value, low, high = crossing(sure([0, 1]), response, 0.9)
    assert 0 < low < value < 1 and high == math.inf


def test_errors_in_the_dose_widen_it():
    dose = [Interval(v, v - 0.5, v + 0.5) for v in (0.0, 1.0, 2.0)]
    response = sure([0.5, 0.7, 1.0])
    assert crossing(sure([0, 1, 2]), response, 0.85).low == crossing(dose, response, 0.85).value
    assert crossing(dose, response, 0.85).low == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("x", "y"), [([1], [1]), ([1, 2], [1]), ([1, 2], [1, float("nan")])])
def test_points_that_cannot_be_read_are_refused(x, y):
    with pytest.raises(DataError, match="dose"):
        crossing(sure(x), sure(y), 0.9)
