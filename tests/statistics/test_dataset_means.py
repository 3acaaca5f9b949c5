"""Averages over datasets against Student's interval and simulation."""

import numpy as np
import pytest
from scipy.stats import norm, t

from madkit.errors import DataError
from madkit.statistics import (
    Comparison,
    Interval,
    auroc,
    compare,
    mean_comparison,
    mean_interval,
    nested_mean_interval,
)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_mean_interval_covers_other_datasets(spread):
    rng = np.random.default_rng(0)
    truth, labels = norm.cdf(1 / np.sqrt(2 + spread**2)), np.arange(200) % 2
    covered = 0
    for shifts in rng.normal(1.0, spread, size=(250, 10)):
        each = [auroc(rng.normal(size=200) + shift * labels, labels) for shift in shifts]
        interval = mean_interval(each, draws=400)
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / 250 <= 0.99


def test_mean_interval_of_exact_aurocs_is_students():
    values = np.random.default_rng(0).uniform(0.4, 0.9, size=10)
    expected = t.interval(0.95, 9, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(10))
    assert mean_interval([Interval(v, v, v) for v in values])[1:] == pytest.approx(expected, abs=0.02)


def test_mean_interval_counts_the_noise_of_datasets_once():
    # The observed AUROCs of alike datasets vary by their noise, which the interval must not add to itself.
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.normal(size=2000)
    observed = [Interval(v, v - 0.05 * 1.96, v + 0.05 * 1.96) for v in 0.7 + noise]
    interval = mean_interval(observed, draws=2000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.05 / np.sqrt(2000), rel=0.1)


def test_mean_interval_is_seeded_and_stays_within_0_and_1():
    each = [Interval(0.9, 0.8, 1.0), Interval(1.0, 0.9, 1.0), Interval(0.6, 0.5, 0.7)]
    assert mean_interval(each) == mean_interval(each)
    assert mean_interval(each, seed=1) != mean_interval(each)
    assert mean_interval(each).high == 1.0
    low = mean_interval([Interval(*(1 - np.array(x))[[0, 2, 1]]) for x in each])
    assert (low.value, low.low) == (pytest.approx(1 - 2.5 / 3), 0.0)
    alike = mean_interval([Interval(0.5, 0.4, 0.6)] * 4)
    assert alike.low < alike.value < alike.high


def test_mean_interval_of_one_dataset_is_its_own():
    one = Interval(0.8, 0.7, 0.88)
    assert mean_interval([one]) == one
    for bad in ([], [Interval(np.nan, 0.0, 1.0)]):
        with pytest.raises(DataError, match="at least one"):
            mean_interval(bad)


def test_the_mean_of_differences_has_the_right_error():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2 == 1
    means, halves = [], []
    for _ in range(200):
        ones = []
        for shift in (0.5, 1.0, 1.5):
            base = rng.normal(size=200) + shift * labels
            ones.append(compare(base + rng.normal(0, 0.7, 200), base + rng.normal(0, 0.7, 200), labels))
        found = mean_comparison(ones)
        means.append(found.difference)
        halves.append(found.high - found.difference)
    assert np.std(means) == pytest.approx(np.mean(halves) / 1.96, rel=0.15)
    assert mean_comparison([Comparison(0.0, 0.0, 0.0, 1.0)]).p_value == 1
    with pytest.raises(DataError):
        mean_comparison([])


def test_an_interval_of_nats_is_not_cut_off_at_0_and_1():
    """Of the same numbers, moved to between 0 and 1 where nothing is cut off, it is the same interval."""
    nats = [Interval(5.0, 4.0, 6.0), Interval(-1.0, -2.0, 0.0), Interval(0.5, -0.5, 1.5)]
    moved = [Interval(*(0.5 + x / 100 for x in each)) for each in nats]

    def means(values, **limits):
        pairs = [[values[0], values[1]], [values[2]]]
        return [
            mean_interval(values, **limits),
            nested_mean_interval([values], **limits),
            nested_mean_interval(pairs, **limits),
        ]

    found, expected = means(nats, limits=(-np.inf, np.inf)), means(moved)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, [100 * (end - 0.5) for end in other], atol=1e-9)
        assert one.low < 0 and one.high > 2
