"""Quirkiness, separation and correlation against their definitions and other libraries."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import log_loss

import madkit.analysis
from madkit.analysis.quirkiness import accuracy, losses, quirkiness_coefficient
from madkit.analysis.state_separation import separation, separation_from_moments
from madkit.analysis.streaming_separation import StreamingSeparation
from madkit.errors import DataError
from madkit.statistics import pearson, r_squared, spearman
from madkit.streaming import Variances


def answers(n=200, seed=0):
    """Log odds that follow each character's own label, weakly; a third of the labels agree."""
    rng = np.random.default_rng(seed)
    character = np.where(np.arange(n) % 2 == 0, "Alice", "Bob")
    alice_label = rng.random(n) < 0.5
    bob_label = np.where(rng.random(n) < 1 / 3, alice_label, ~alice_label)
    own = np.where(character == "Bob", bob_label, alice_label)
    return rng.normal(size=n) * 2 + np.where(own, 1.0, -1.0), character, alice_label, bob_label


def test_losses_are_sklearns_log_loss():
    log_odds, character, alice_label, bob_label = answers()
    found = losses(log_odds, character, alice_label, bob_label)
    probability = 1 / (1 + np.exp(-log_odds))
    for name, label in (("alice", alice_label), ("bob", bob_label)):
        rows = (character == name.title()) & (alice_label != bob_label)
        own = log_loss(label[rows], probability[rows], labels=[False, True])
        other = log_loss(~label[rows], probability[rows], labels=[False, True])
        assert getattr(found, f"{name}_own").value == pytest.approx(own)
        assert getattr(found, f"{name}_other").value == pytest.approx(other)


def test_quirkiness_is_the_smaller_gap():
    columns = answers()
    found, loss = quirkiness_coefficient(*columns), losses(*columns)
    gaps = [loss.alice_other.value - loss.alice_own.value, loss.bob_other.value - loss.bob_own.value]
    assert found.value == pytest.approx(min(gaps))
    assert found.low < found.value < found.high
    assert found == quirkiness_coefficient(*columns)
    assert found != quirkiness_coefficient(*columns, seed=1)


def test_agreeing_prompts_do_not_count():
    log_odds, character, alice_label, bob_label = answers()
    wild = np.where(alice_label == bob_label, 1e4, log_odds)
    columns = (character, alice_label, bob_label)
    assert quirkiness_coefficient(wild, *columns) == quirkiness_coefficient(log_odds, *columns)


def test_quirkiness_is_negative_when_a_character_follows_the_other():
    found = quirkiness_coefficient([3.0, 2.0], ["Alice", "Bob"], [1, 1], [0, 0])
    assert found.value == pytest.approx(-2.0)


def test_bootstrap_interval_is_about_the_normal_one():
    log_odds, character, alice_label, bob_label = answers(4000)
    rows = (character == "Alice") & (alice_label != bob_label)
    own = losses(log_odds, character, alice_label, bob_label).alice_own
    each = np.logaddexp(0, -np.where(alice_label[rows], log_odds[rows], -log_odds[rows]))
    half = 1.96 * each.std(ddof=1) / math.sqrt(rows.sum())
    assert (own.low, own.high) == pytest.approx((each.mean() - half, each.mean() + half), abs=half / 10)


def test_huge_log_odds_do_not_overflow():
    with np.errstate(over="raise"):
        found = losses([1e6, -1e6], ["Alice", "Bob"], [1, 1], [0, 0])
    assert (found.alice_own.value, found.alice_other.value) == (0.0, 1e6)


def test_accuracy_by_hand():
    character = ["Alice"] * 4 + ["Bob"] * 4
    found = accuracy([1, 1, -1, 0, -1, -1, -1, 1], character, [1] * 8, [0] * 7 + [1])
    assert found.alice.value == (1 + 1 + 0 + 0.5) / 4
    assert found.bob.value == 1.0
    assert found.bob_against_truth.value == 0.25
    wilson = scipy.stats.binomtest(4, 4).proportion_ci(method="wilson")
    assert found.bob[1:] == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"log_odds": [1.0, np.nan]}, "log_odds has 1 of 2"),
        ({"character": ["Alice", "Alice"]}, "both 'Alice' and 'Bob'"),
        ({"character": ["Alice", "Carol"]}, "Carol"),
        ({"bob_label": [0, 1]}, "'Bob' has no prompts"),
        ({"bob_label": [1, 0]}, "'Alice' has no prompts"),
        ({"alice_label": [1, 2]}, "alice_label holds"),
        ({"alice_label": [1]}, "shapes"),
    ],
)
def test_bad_answers_are_named(change, named):
    columns = {
        "log_odds": [1.0, 1.0],
        "character": ["Alice", "Bob"],
        "alice_label": [1, 1],
        "bob_label": [0, 0],
    }
    quirkiness_coefficient(**columns)
    for function in (quirkiness_coefficient, losses):
        with pytest.raises(DataError, match=named):
            function(**{**columns, **change})


def states(n=90, d=7):
    rng = np.random.default_rng(0)
    is_bob = np.arange(n) % 3 == 0
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + is_bob[:, None] * rng.normal(size=d) + 100, is_bob


def test_separation_is_its_definition():
    x, is_bob = states()
    gap = x[~is_bob].mean(0) - x[is_bob].mean(0)
    found = separation(x, is_bob)
    assert found.variance == pytest.approx(np.trace(np.cov(x.T)), rel=1e-12)
    assert found.value == pytest.approx(gap @ gap / np.trace(np.cov(x.T)), rel=1e-10)
    assert (found.n_alice, found.n_bob) == (60, 30)
    assert separation(x.astype(np.float32) * 3 + 1, is_bob).value == pytest.approx(found.value, rel=1e-4)
    assert separation(x[:, 0], is_bob) == separation(x[:, :1], is_bob)


def test_streamed_separation_is_the_same():
    x, is_bob = states()
    sides = []
    for rows in (x[~is_bob], x[is_bob]):
        moments = Variances()
        for batch in torch.tensor(rows).split(7):
            moments.update(batch)
        sides.append(moments.result())
    assert separation_from_moments(*sides) == pytest.approx(separation(x, is_bob), rel=1e-9)
    apart = StreamingSeparation()
    order = np.random.default_rng(1).permutation(len(x))
    for batch in np.array_split(order, 11):
        apart.update(torch.tensor(x[batch]), torch.tensor(is_bob[batch]))
    assert apart.compute() == pytest.approx(separation(x, is_bob), rel=1e-9)


def test_separation_of_low_precision_rows_is_exact():
    x, is_bob = states()
    low = torch.tensor(x).to(torch.bfloat16)
    apart = StreamingSeparation().to(torch.bfloat16)
    apart.update(low, torch.tensor(is_bob))
    assert apart.compute() == pytest.approx(separation(low.double().numpy(), is_bob), rel=1e-9)


def test_two_points_are_just_below_four():
    found = separation(np.repeat([0.0, 1.0], 500), np.repeat([False, True], 500))
    assert found.value == pytest.approx(4 * 999 / 1000)


def test_bad_states_are_named():
    x, is_bob = states()
    broken = x.copy()
    broken[[2, 5], 1] = np.nan
    with pytest.raises(DataError, match="in 2 of 90 rows"):
        separation(broken, is_bob)
    with pytest.raises(DataError, match="0 Alice and 90 Bob"):
        separation(x, np.ones(90))
    with pytest.raises(DataError, match="is_bob holds"):
        separation(x, np.arange(90))
    with pytest.raises(DataError, match="is_bob \\(89,\\)"):
        separation(x, is_bob[1:])
    with pytest.raises(DataError, match="all n=90 rows are equal"):
        separation(np.full((90, 3), 0.1), is_bob)
    apart = StreamingSeparation()
    apart.update(x[is_bob], np.ones(30))
    with pytest.raises(DataError, match="0 Alice and 30 Bob"):
        apart.compute()
    with pytest.raises(DataError, match="in 2 of 90 rows"):
        apart.update(broken, is_bob)


def test_correlations_are_scipys():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40).round(1)
    y = np.exp(x) + rng.normal(size=40)
    assert pearson(x, y).value == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert spearman(x, y).value == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert r_squared(x, y).value == pytest.approx(scipy.stats.linregress(x, y).rvalue ** 2)
    peer = scipy.stats.bootstrap(
        (x, y), lambda a, b: scipy.stats.pearsonr(a, b).statistic, paired=True, vectorized=False,
        method="percentile", n_resamples=2000, rng=0,
    ).confidence_interval  # fmt: skip
    assert pearson(x, y)[1:] == pytest.approx((peer.low, peer.high), abs=0.03)
    assert pearson(x, y) == pearson(x, y)


def test_few_rows_still_have_an_interval():
    found = pearson([0.1, 0.1, 0.3], [1.0, 2.0, 5.0])
    assert -1 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        ([1, 2], [1, 2], "n=2"),
        ([1, 2, np.nan], [1, 2, 3], "all finite"),
        ([0.1, 0.1, 0.1], [1, 2, 3], "constant"),
        ([1, 2, 3], [1, 2], "shapes"),
    ],
)
def test_bad_columns_are_named(x, y, named):
    for function in (pearson, spearman, r_squared):
        with pytest.raises(DataError, match=named):
            function(x, y)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="nothing"):
        madkit.analysis.nothing  # noqa: B018
