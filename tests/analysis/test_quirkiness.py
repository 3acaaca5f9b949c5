"""Losses, quirkiness and accuracy against scikit-learn and by hand."""

import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import log_loss

import madkit.analysis
from madkit.analysis.quirkiness import accuracy, losses, quirkiness_coefficient
from madkit.errors import DataError


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


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="nothing"):
        madkit.analysis.nothing  # noqa: B018


def test_prompts_of_few_statements_say_less():
    rng = np.random.default_rng(0)
    statement = np.tile(np.repeat(np.arange(40), 10), 2)
    bob = np.repeat([False, True], 400)
    columns = {"character": np.where(bob, "Bob", "Alice"), "alice_label": np.ones(800), "bob_label": np.zeros(800)}
    covered = {"statements": 0, "prompts": 0}
    shares = dict(covered)
    truth = scipy.stats.norm.expect(lambda x: np.logaddexp(0, -x), loc=1)
    for _ in range(60):
        # What each character loses is as random as the statement: the truth is 1 nat for both.
        log_odds = np.where(bob, -1, 1) * (1 + rng.normal(size=(40, 2))[statement, bob.astype(int)])
        for name, clusters in (("statements", statement), ("prompts", None)):
            found = losses(log_odds, **columns, clusters=clusters, draws=200)
            covered[name] += found.alice_own.low <= truth <= found.alice_own.high
            alice = accuracy(log_odds, **columns, clusters=clusters).alice
            shares[name] += alice.low <= scipy.stats.norm.cdf(1) <= alice.high
    assert covered["statements"] / 60 >= 0.85 > 0.7 > covered["prompts"] / 60
    assert shares["statements"] / 60 >= 0.85 > 0.7 > shares["prompts"] / 60
    right = accuracy(np.where(bob, -1, 1), **columns, clusters=statement).alice
    assert right == pytest.approx(
        accuracy(np.repeat([1, -1], 40), ["Alice"] * 40 + ["Bob"] * 40, [1] * 80, [0] * 80).alice
    )


def test_prompts_of_one_statement_say_nothing_of_others():
    log_odds, character, alice_label, bob_label = answers()
    columns = (log_odds, character, alice_label, bob_label)
    bob = character == "Bob"
    for clusters, known in (
        (["q"] * 200, ()),
        ((["q"] * 200, np.arange(200)), ()),
        (np.where(bob, "q", np.arange(200)), ("alice",)),  # Bob's prompts are of one statement, Alice's are not
    ):
        found, loss = (f(*columns, clusters=clusters, draws=100) for f in (quirkiness_coefficient, losses))
        assert found.value == quirkiness_coefficient(*columns, draws=1).value and np.isnan(found[1:]).all()
        for name, interval in loss._asdict().items():
            assert np.isnan(interval[1:]).all() != name.startswith(known or "nobody"), name
        right = accuracy(*columns, clusters=clusters)
        # As if one prompt had been asked, of which any share may be right.
        for name, interval in right._asdict().items():
            assert (interval.high - interval.low > 0.6) != name.startswith(known or "nobody"), name
    one = quirkiness_coefficient([3.0, -2.0, 1.0], ["Alice", "Bob", "Bob"], [1, 1, 1], [0, 0, 0])
    assert one.value == 0.5 and np.isnan(one[1:]).all()


def test_clusters_of_one_prompt_are_independent_prompts():
    columns = answers(2000)
    found, plain = (quirkiness_coefficient(*columns, clusters=c) for c in (np.arange(2000), None))
    assert found == pytest.approx(plain, abs=0.02)
    assert accuracy(*columns, clusters=np.arange(2000)).bob == pytest.approx(accuracy(*columns).bob, abs=1e-3)
