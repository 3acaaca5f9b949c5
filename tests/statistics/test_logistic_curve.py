"""The fitted curve against scipy, and its bootstrap of groups."""

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import expit

from madkit.errors import DataError
from madkit.statistics import (
    fit_logistic_curve,
    pearson,
    r_squared,
)


def test_the_curve_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 1, 50)
    y = np.clip(0.5 + 0.5 * expit(1 + 3 * x) + rng.normal(0, 0.03, 50), 0, 1)
    at = np.linspace(-3, 1, 20)
    found = fit_logistic_curve(x, y, at)
    (a, b), _ = curve_fit(lambda x, a, b: 0.5 + 0.5 * expit(a + b * x), x, y, p0=(0, 1))
    assert (found.intercept, found.slope) == pytest.approx((a, b), rel=1e-5)
    np.testing.assert_allclose(found.value, 0.5 + 0.5 * expit(a + b * at), atol=1e-6)
    assert found.r_squared.value == pytest.approx(1 - ((y - 0.5 - 0.5 * expit(a + b * x)) ** 2).sum() / y.var() / 50)
    assert (found.low <= found.value + 1e-9).all() and (found.value <= found.high + 1e-9).all()
    assert found.r_squared.low < found.r_squared.value < found.r_squared.high
    falling = fit_logistic_curve(-x, y, [0.0])
    assert falling.slope == pytest.approx(-b, rel=1e-5)


def test_rows_that_belong_together_say_less():
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(size=12), 10)
    y = x + np.repeat(rng.normal(size=12), 10)
    groups = np.repeat(np.arange(12), 10).tolist()
    alone, together = pearson(x, y), pearson(x, y, groups=groups)
    assert alone.value == together.value
    assert together.high - together.low > 2 * (alone.high - alone.low)
    curve = fit_logistic_curve(x, np.clip(y, 0.5, 1), [0.0], groups=groups)
    narrow = fit_logistic_curve(x, np.clip(y, 0.5, 1), [0.0])
    assert curve.high[0] - curve.low[0] > narrow.high[0] - narrow.low[0]
    with pytest.raises(DataError, match="groups has 1 ids for n=120 rows"):
        pearson(x, y, groups=["a"])


def test_groups_may_be_pairs_and_are_all_given():
    """As the figure of separation gives them, a model and a dataset each."""
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(size=12), 5)
    y = np.clip(0.75 + 0.1 * x + np.repeat(rng.normal(size=12), 5) / 10, 0.5, 1)
    numbers = np.repeat(np.arange(12), 5)
    pairs = [(f"model {number % 3}", f"dataset {number // 3}") for number in numbers]
    for function in (pearson, r_squared, lambda x, y, groups: fit_logistic_curve(x, y, [0.0], groups=groups, draws=20)):
        assert function(x, y, groups=pairs) == function(x, y, groups=numbers)
        for missing in ([None, *pairs[1:]], [np.nan, *numbers[1:]]):
            with pytest.raises(DataError, match="groups lacks the id of 1 of 60 rows"):
                function(x, y, groups=missing)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [([1, 2], [3, 4], "n=2"), ([1, 1, 1], [1, 2, 3], "constant"), ([1, 2, np.nan], [1, 2, 3], "finite")],
)
def test_a_curve_through_nothing_is_an_error(x, y, words):
    with pytest.raises(DataError, match=words):
        fit_logistic_curve(x, y, [0.0])
