"""Means of comparisons that share members, against DeLong's variance and simulation."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm, t

from madkit.errors import DataError
from madkit.statistics import crossed_mean, pairwise_wins, wilson_interval
from madkit.statistics.auroc_interval import delong_covariance


def test_with_all_pairs_the_mean_is_the_auroc_and_its_variance_delongs_less_what_it_counts_twice():
    rng = np.random.default_rng(1)
    negative, positive = rng.normal(size=7), rng.normal(0.3, size=5)
    names = [(i, j) for i in range(7) for j in range(5)]
    wins = pairwise_wins([positive[j] for _, j in names], [negative[i] for i, _ in names])
    interval = crossed_mean(wins, [i for i, _ in names], [j for _, j in names])
    rows = np.concatenate([negative, positive])[None]
    (value,), covariance = delong_covariance(rows, np.array([False] * 7 + [True] * 5))
    table = wins.reshape(7, 5)
    through = table.mean(1).var(ddof=1) / 7, table.mean(0).var(ddof=1) / 5
    assert sum(through) == pytest.approx(covariance[0, 0])
    freedom = sum(through) ** 2 / (through[0] ** 2 / 6 + through[1] ** 2 / 4)
    half = (logit(interval.high) - logit(interval.low)) / 2 / t.ppf(0.975, freedom) * value * (1 - value)
    assert interval.value == pytest.approx(value)
    assert half**2 == pytest.approx(max(sum(through) - table.var(ddof=1) / 35, sum(through) / 2))


def test_pairs_that_share_nothing_are_independent():
    wins = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    interval = crossed_mean(wins, range(8), range(8))
    half = t.ppf(0.975, 14) * wins.std(ddof=1) / 8**0.5 / (0.75 * 0.25)
    assert interval[1:] == pytest.approx((expit(logit(0.75) - half), expit(logit(0.75) + half)))


def test_shared_members_make_the_interval_wider_than_wilsons():
    """Whether a pair is told apart depends on its negative member alone: 36 pairs are 6 observations."""
    wins = [float(i < 4) for i in range(6) for _ in range(6)]
    clustered = crossed_mean(wins, [i for i in range(6) for _ in range(6)], [j for _ in range(6) for j in range(6)])
    independent = wilson_interval(sum(wins), 36)
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)


@pytest.mark.parametrize(("n", "shift"), [(6, 0.0), (6, 1.0), (18, 1.0)])
def test_the_interval_covers_the_truth(n, shift):
    """Scores of members are normal and pairs share them. Nominal: 95%."""
    rng = np.random.default_rng(3)
    truth, hits, trials = norm.cdf(shift / np.sqrt(2)), [], 400
    sides = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    simple = []
    for _ in range(trials):
        a, m = rng.normal(size=n), rng.normal(shift, size=n)
        wins = pairwise_wins(m[sides[1]], a[sides[0]])
        interval = crossed_mean(wins, sides[0].tolist(), sides[1].tolist())
        hits.append(interval.low <= truth <= interval.high)
        naive = wilson_interval(wins.sum(), n * n)
        simple.append(naive.low <= truth <= naive.high)
    assert 0.92 <= np.mean(hits) <= 1.0
    assert np.mean(simple) < np.mean(hits)  # which is why there is another one


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(DataError, match="NaN or infinite"):
        pairwise_wins([number], [0.0])


def test_comparisons_need_a_member_of_both_groups_each():
    with pytest.raises(DataError, match="wins of 1 comparisons, 2 and 1 members"):
        crossed_mean([1.0], ["a", "b"], ["x"])
    with pytest.raises(DataError, match="wins of 0"):
        crossed_mean([], [], [])
