"""Seeds nested in datasets against simulations whose components are known, and against an analysis of variance."""

import numpy as np
import pytest
from scipy.stats import f_oneway, norm

from madkit.errors import DataError
from madkit.statistics import (
    Comparison,
    Interval,
    mean_comparison,
    mean_interval,
    nested_mean_comparison,
    nested_mean_interval,
    variance_components,
)

Z = norm.ppf(0.975)


def simulated(rng, datasets, seeds, mean, between, seed, noise):
    """(datasets, seeds) numbers and their intervals, with standard deviations as given."""
    truth = mean + between * rng.normal(size=(datasets, 1)) + seed * rng.normal(size=(datasets, seeds))
    values = truth + noise * rng.normal(size=truth.shape)
    return values, [[Interval(v, v - Z * noise, v + Z * noise) for v in row] for row in values]


def test_components_are_found():
    rng = np.random.default_rng(0)
    found = [variance_components(simulated(rng, 9, 3, 0.0, 0.08, 0.05, 0.02)[1]) for _ in range(400)]
    means = np.mean(found, axis=0)
    assert means == pytest.approx([0.08**2, 0.05**2, 0.02**2], rel=0.1)
    big = variance_components(simulated(rng, 400, 4, 0.0, 0.08, 0.05, 0.02)[1])
    assert big.seed_share == pytest.approx(0.05**2 / (0.08**2 + 0.05**2 + 0.02**2), rel=0.2)


def test_components_of_exact_numbers_are_those_of_an_analysis_of_variance():
    values, _ = simulated(np.random.default_rng(1), 5, 3, 0.5, 0.1, 0.05, 0.0)
    found = variance_components([[Interval(v, v, v) for v in row] for row in values])
    within = values.var(axis=1, ddof=1).mean()
    between = f_oneway(*values).statistic * within
    assert found == pytest.approx([(between - within) / 3, within, 0.0])


def test_datasets_may_have_different_numbers_of_seeds_and_what_cannot_be_told_is_nan():
    rng = np.random.default_rng(2)
    uneven = []
    for _ in range(300):
        _, runs = simulated(rng, 9, 4, 0.0, 0.08, 0.05, 0.02)
        uneven.append(variance_components([row[: 1 + i % 4] for i, row in enumerate(runs)]))
    assert np.mean(uneven, axis=0) == pytest.approx([0.08**2, 0.05**2, 0.02**2], rel=0.15)
    one = Interval(0.7, 0.6, 0.8)
    assert np.isnan(variance_components([[one], [one]]).seeds)
    assert np.isnan(variance_components([[one, one]]).datasets)
    for bad in ([], [[]], [[Interval(np.nan, 0.0, 1.0)]]):
        with pytest.raises(DataError, match="at least one"):
            variance_components(bad)


@pytest.mark.parametrize("parts", [(0.08, 0.05, 0.02), (0.0, 0.05, 0.02), (0.03, 0.0, 0.03)])
def test_the_mean_covers_other_datasets_and_seeds(parts):
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        found = nested_mean_interval(simulated(rng, 9, 3, 0.6, *parts)[1], draws=300)
        covered += found.low <= 0.6 <= found.high
    assert 0.92 <= covered / 200 <= 0.99


def test_seeds_of_one_dataset_speak_of_other_seeds():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(600):
        found = nested_mean_interval(simulated(rng, 1, 3, 0.6, 0.0, 0.03, 0.01)[1])
        covered += found.low <= 0.6 <= found.high
    assert 0.92 <= covered / 600 <= 0.98


def test_one_seed_each_is_as_without_seeds():
    _, runs = simulated(np.random.default_rng(5), 6, 1, 0.7, 0.05, 0.05, 0.02)
    assert nested_mean_interval(runs) == mean_interval([row[0] for row in runs])
    tests = [[Comparison(*row[0], 0.5)] for row in runs]
    assert nested_mean_comparison(tests) == mean_comparison([row[0] for row in tests])


@pytest.mark.parametrize("seed_spread", [0.0, 0.06])
def test_equal_detectors_are_called_different_in_one_of_twenty(seed_spread):
    """Datasets are fixed: on each, the difference between the two detectors is its own."""
    rng = np.random.default_rng(8)
    fixed = rng.normal(0, 0.1, size=(6, 1))
    fixed -= fixed.mean()
    wrong, within = 0, 0
    for _ in range(500):
        values = fixed + np.hypot(seed_spread, 0.03) * rng.normal(size=(6, 3))
        found = nested_mean_comparison(
            [[Comparison(v, v - Z * 0.03, v + Z * 0.03, 1.0) for v in row] for row in values]
        )
        assert found.difference == pytest.approx(values.mean())
        wrong += found.p_value < 0.05
        within += found.low <= 0 <= found.high
    assert 0.01 <= wrong / 500 <= 0.08 and within == 500 - wrong
    assert nested_mean_comparison([[Comparison(0.0, 0.0, 0.0, 1.0)] * 2]).p_value == 1
