"""Intervals of rows that share statements: by brute force, DeLong's where nothing is shared, and their coverage."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import norm

from madkit.analysis import accuracy
from madkit.errors import DataError
from madkit.statistics import (
    auroc,
    compare,
    compare_all,
    independent_rows,
    low_fpr,
    pearson,
    prompt_clusters,
    r_squared,
    stratified_auroc,
)
from madkit.statistics.alarm_rates import alarm_rates
from madkit.statistics.clustered_variance import ClusterSums
from madkit.statistics.win_rates import win_rates


def study(n=60, per_cluster=4, correlation=0.5, gap=1.0, seed=0):
    """Statements with normal and anomalous prompts, each class with an effect of the statement."""
    rng = np.random.default_rng(seed)
    statement = np.tile(np.repeat(np.arange(n), per_cluster), 2)
    labels = np.repeat([0, 1], n * per_cluster)
    shared = rng.normal(size=(n, 2))[statement, labels]
    noise = rng.normal(size=len(labels))
    return correlation**0.5 * shared + (1 - correlation) ** 0.5 * noise + gap * labels, labels, statement


def test_variance_is_obuchowskis_by_hand():
    scores, labels, statement = study()
    above, below = scores[labels == 1], scores[labels == 0]
    wins = (above[:, None] > below[None]).astype(float)
    value, n = wins.mean(), 60
    # Sums over statements of the structural components (Obuchowski 1997): all have four prompts of either class.
    by_anomalous = np.bincount(statement[labels == 1], wins.mean(1) - value)
    by_normal = np.bincount(statement[labels == 0], wins.mean(0) - value)
    m = len(above)
    variance = n / (n - 1) * ((by_anomalous**2).sum() + (by_normal**2).sum() + 2 * (by_anomalous * by_normal).sum())
    sums = ClusterSums(win_rates(scores[None], labels == 1), labels == 1, [statement])
    assert sums.variance(np.eye(1)).value[0] == pytest.approx(variance / m**2)
    found = auroc(scores, labels, clusters=statement)
    assert found.value == pytest.approx(value)
    quantile = (found.high - found.low) / 2 / np.sqrt(variance) * m
    assert 1.9 < quantile < 2.2


def test_clusters_of_one_row_are_delongs():
    scores, labels, _ = study(n=300, correlation=0)
    other = scores + np.random.default_rng(1).normal(size=len(scores))
    own = np.arange(len(scores))
    assert auroc(scores, labels, clusters=own) == pytest.approx(auroc(scores, labels), rel=2e-3)
    assert compare(scores, other, labels, clusters=own)[:3] == pytest.approx(
        compare(scores, other, labels)[:3], rel=2e-2
    )


def test_ids_are_of_any_kind_and_order():
    scores, labels, statement = study()
    expected = auroc(scores, labels, clusters=statement)
    words = [f"q{number}" for number in statement]
    turn = np.random.default_rng(0).permutation(len(labels))
    for ids in (words, pd.Series(words, index=turn), np.array(words), pd.Categorical(words), (words,)):
        assert auroc(scores, labels, clusters=ids) == pytest.approx(expected)
    assert auroc(scores[turn], labels[turn], clusters=statement[turn]) == pytest.approx(expected)


def test_ids_in_a_tensor_or_an_arrow_column_are_told_by_what_they_hold():
    """Their items are objects, two of which are equal only where they are one: each row would be its own cluster."""
    scores, labels, statement = study(n=20)
    other = scores + np.random.default_rng(1).normal(size=len(scores))
    name = labels * 100 + np.arange(len(labels)) % 6
    statistics = {
        "auroc": lambda ids: auroc(scores, labels, clusters=ids),
        "compare": lambda ids: compare(scores, other, labels, clusters=ids),
        "low_fpr": lambda ids: low_fpr(scores, labels, 0.1, clusters=ids, draws=20),
        "stratified": lambda ids: stratified_auroc(scores, labels, ids, clusters=statement),
        "independent_rows": lambda ids: independent_rows(scores, labels, ids),
        "accuracy": lambda ids: accuracy(scores, np.where(labels, "Bob", "Alice"), labels, 1 - labels, clusters=ids),
        "alarm_rates": lambda ids: alarm_rates(scores[None] > 1, ids),
        "r_squared": lambda ids: r_squared(scores, other, groups=ids),
        "pearson": lambda ids: pearson(scores, other, groups=ids, draws=20),
    }
    tensor = torch.tensor(statement)
    arrow = pa.chunked_array([pa.array(statement[:50]), pa.array(statement[50:])])
    for what, function in statistics.items():
        expected = function(statement)
        assert what == "stratified" or function(np.arange(len(labels))) != expected, what
        for ids in (tensor, tensor.float().requires_grad_(), list(tensor), [np.array(i) for i in statement], arrow):
            assert function(ids) == expected, what
        assert function(list(pa.array([f"q{i}" for i in statement]))) == expected, what
    crossed = auroc(scores, labels, clusters=(statement, name))
    for both in ((tensor, torch.tensor(name)), torch.stack([tensor, torch.tensor(name)])):
        assert auroc(scores, labels, clusters=both) == crossed


def test_each_row_twice_says_as_much_as_once():
    scores, labels, statement = study(per_cluster=1, correlation=0)
    once = auroc(scores, labels, clusters=statement)
    twice = auroc(np.repeat(scores, 2), np.repeat(labels, 2), clusters=np.repeat(statement, 2))
    assert twice == pytest.approx(once, abs=2e-3)
    assert auroc(np.repeat(scores, 2), np.repeat(labels, 2)).low > once.low


def test_a_second_grouping_adds_what_it_shares():
    # The speaker moves all scores: statements alone miss it.
    rng = np.random.default_rng(0)
    scores, labels, statement = study(n=80, per_cluster=12, correlation=0)
    speaker = labels * 100 + np.tile(np.arange(12), 160)
    moved = scores + rng.normal(size=200)[speaker]
    alone, crossed = (auroc(moved, labels, clusters=ids) for ids in (statement, (statement, speaker)))
    assert crossed.high - crossed.low > 2 * (alone.high - alone.low)
    same, with_speakers = (auroc(scores, labels, clusters=ids) for ids in (statement, (statement, speaker)))
    assert with_speakers.high - with_speakers.low >= same.high - same.low
    # One speaker of each class says nothing of others: statements remain.
    assert auroc(scores, labels, clusters=(statement, labels)).low == pytest.approx(same.low)


def test_perfect_prompts_of_few_statements_are_few():
    labels = np.repeat([0, 1], 700)
    statement = np.tile(np.repeat(np.arange(70), 10), 2)
    found = auroc(np.arange(1400), labels, clusters=statement)
    assert found == auroc(np.arange(140), np.repeat([0, 1], 70))
    assert found.low < auroc(np.arange(1400), labels).low


def test_all_pairs_at_once_are_each_pair():
    scores, labels, statement = study()
    rng = np.random.default_rng(1)
    speaker = rng.integers(6, size=len(labels)) + 6 * labels
    columns = {name: scores + rng.normal(size=len(scores)) for name in "abcd"} | {"labels": labels, "noise": 0 * labels}
    table = compare_all(columns, labels, clusters=(statement, speaker))
    for row in table.itertuples():
        one = compare(columns[row.a], columns[row.b], labels, clusters=(statement, speaker))
        assert (row.difference, row.low, row.high, row.p_value) == pytest.approx(one)


def test_strata_are_brute_force():
    rng = np.random.default_rng(0)
    scores, labels, statement = study()
    answer = rng.random(len(labels)) < np.where(labels == 1, 0.7, 0.3)
    right = total = 0.0
    for a in np.flatnonzero(labels == 1):
        same = (labels == 0) & (answer == answer[a])
        right += (scores[a] > scores[same]).sum()
        total += same.sum()
    found = stratified_auroc(scores, labels, answer, clusters=statement)
    assert found.within.value == pytest.approx(right / total)
    assert (found.n_pairs, found.share) == (total, pytest.approx(total / (labels == 1).sum() / (labels == 0).sum()))
    assert found.difference.difference == pytest.approx(right / total - auroc(scores, labels).value)
    one = stratified_auroc(scores, labels, np.zeros(len(labels)), clusters=statement)
    assert one.within == pytest.approx(auroc(scores, labels, clusters=statement), abs=0.01)
    assert one.difference == (0.0, 0.0, 0.0, 1.0)


def test_strata_find_a_score_that_shows_only_the_answer():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    answer = rng.random(800) < np.where(labels == 1, 0.8, 0.2)
    found = stratified_auroc(answer + rng.random(800) / 2, labels, answer)
    assert found.within.low < 0.5 < found.within.high
    assert found.difference.high < -0.2 and found.difference.p_value < 1e-6


@pytest.mark.parametrize(
    ("clusters", "named"),
    [
        ([1, 2], "2 ids for n=4"),
        (([1, 1, 2, 2], [1]), "1 ids for n=4"),
        ([1, 2, None, 3], "lacks the id of 1 of 4"),
        ([None, 1, 2, 3], "lacks the id of 1 of 4"),
        (np.ma.masked_values([1, 2, 3, 9], 9), "lacks the id of 1 of 4"),
        (pa.array([1, 1, None, None]), "lacks the id of 2 of 4"),
        (pa.chunked_array([["a", None], [None, "b"]]), "lacks the id of 2 of 4"),
        (list(pa.array(["a", None, None, "b"])), "lacks the id of 2 of 4"),
        (torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]]), "2 ids for n=4"),
        (torch.tensor(3), "is no list of ids"),
        ([], "clusters is empty"),
    ],
)
def test_bad_clusters_are_named(clusters, named):
    for function in (auroc, low_fpr):
        with pytest.raises(DataError, match=named):
            function([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], clusters=clusters)


def test_prompts_without_a_statement_or_a_name_are_refused():
    """They were all of one statement, or all of one speaker."""
    labels, names = np.arange(8) % 2, [f"n{i}" for i in range(8)]
    statements = np.array(["s1", None, "s2", None, "s3", "s4", "s5", "s6"], dtype=object)
    for missing in (statements, statements.tolist(), pd.Series(statements), pd.Categorical(statements)):
        with pytest.raises(DataError, match="statements lacks the id of 2 of 8 rows"):
            prompt_clusters(missing, names, labels)
        with pytest.raises(DataError, match="names lacks the id of 2 of 8 rows"):
            prompt_clusters(names, missing, labels)
    with pytest.raises(DataError, match="names has 7 ids for n=8 rows"):
        prompt_clusters(names, names[1:], labels)
    with pytest.raises(DataError, match="labels holds"):
        prompt_clusters(names, names, labels + 1)
    nobody = prompt_clusters(torch.tensor([1, 1, 2, 2, 3, 3, 4, 4]), [""] * 8, labels)
    assert [codes.tolist() for codes in nobody] == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert len(prompt_clusters(["s"] * 8, names, labels)) == 2


def test_strata_of_one_class_are_refused():
    with pytest.raises(DataError, match="none of 2 strata has both"):
        stratified_auroc([1.0, 2.0], [0, 1], [0, 1])
    for strata, named in (([0], "strata has 1 ids for n=2"), ([0, None], "strata lacks the id of 1 of 2")):
        with pytest.raises(DataError, match=named):
            stratified_auroc([1.0, 2.0], [0, 1], strata)
    with pytest.raises(DataError, match=r"strata has shape \(2, 1\) for n=2"):
        stratified_auroc([1.0, 2.0], [0, 1], np.zeros((2, 1)))


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_intervals_cover(correlation):
    truth, covered, equal = norm.cdf(1 / 2**0.5), 0, 0
    rng = np.random.default_rng(0)
    for seed in range(150):
        scores, labels, statement = study(70, 10, correlation, seed=seed)
        found = auroc(scores, labels, clusters=statement)
        covered += found.low <= truth <= found.high
        effects = rng.normal(size=(2, 140))[:, statement + 70 * labels] * correlation**0.5
        a, b = scores + effects + rng.normal(size=(2, len(labels)))
        equal += compare(a, b, labels, clusters=statement).p_value >= 0.05
    # A method that takes prompts for independent covers in half of the samples at .6.
    assert 0.9 <= covered / 150 <= 0.99
    assert 0.9 <= equal / 150 <= 0.99


def test_few_alarms_of_few_statements_cover():
    truth = norm.cdf(2 + norm.ppf(0.01))
    covered = narrow = 0
    for seed in range(40):
        scores, labels, statement = study(70, 10, 0.6, gap=2.0, seed=seed)
        found = low_fpr(scores, labels, clusters=statement, draws=100).tpr
        independent = low_fpr(scores, labels, draws=100).tpr
        covered += found.low <= truth <= found.high
        narrow += independent.low <= truth <= independent.high
    assert covered / 40 >= 0.88 > narrow / 40
