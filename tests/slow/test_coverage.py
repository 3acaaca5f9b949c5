"""How often intervals of prompts that share statements hold the truth, by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from madkit.statistics import auroc, compare, stratified_auroc, tpr_at_fpr

GAP = 1.2
TRIALS = 120
#: Statements, and prompts of each class a statement.
SIZES = [(70, 15), (600, 3)]


def statements_of(rng, statements, prompts, unbalanced):
    """The statement of each of one class's prompts; unbalanced ones have from one prompt to several times the mean."""
    if not unbalanced:
        return np.repeat(np.arange(statements), prompts)
    return np.repeat(np.arange(statements), 1 + rng.poisson(rng.gamma(1, prompts - 1, statements)))


def draw(rng, statements, prompts, correlation, unbalanced, detectors=1):
    """Scores (detectors, n) with a statement's effect on each class, labels and statements."""
    one = statements_of(rng, statements, prompts, unbalanced)
    statement, labels = np.tile(one, 2), np.repeat([0, 1], len(one))
    effects = rng.normal(size=(detectors, 2, statements))[:, labels, statement]
    noise = rng.normal(size=(detectors, len(labels)))
    return correlation**0.5 * effects + (1 - correlation) ** 0.5 * noise + GAP * labels, labels, statement


@pytest.mark.parametrize("unbalanced", [False, True])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize(("statements", "prompts"), SIZES)
def test_auroc_and_paired_differences(statements, prompts, correlation, unbalanced):
    rng = np.random.default_rng(0)
    truth, covered, equal = norm.cdf(GAP / 2**0.5), 0, 0
    for _ in range(TRIALS):
        (a, b), labels, statement = draw(rng, statements, prompts, correlation, unbalanced, detectors=2)
        found = auroc(a, labels, clusters=statement)
        covered += found.low <= truth <= found.high
        pair = compare(a, b, labels, clusters=statement)
        equal += pair.low <= 0 <= pair.high
    assert covered / TRIALS >= 0.9
    assert equal / TRIALS >= 0.9


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize(("statements", "prompts"), SIZES)
def test_rare_alarms(statements, prompts, correlation):
    rng = np.random.default_rng(0)
    truth, covered, trials = norm.cdf(GAP + norm.ppf(0.01)), 0, TRIALS // 2
    for _ in range(trials):
        (scores,), labels, statement = draw(rng, statements, prompts, correlation, unbalanced=False)
        found = tpr_at_fpr(scores, labels, clusters=statement, draws=100)
        covered += found.low <= truth <= found.high
    assert covered / trials >= 0.88


@pytest.mark.parametrize("names", [4, 12])
def test_names_of_each_class(names):
    rng = np.random.default_rng(0)
    truth, crossed, alone = norm.cdf(GAP / 2**0.5), 0, 0
    for _ in range(TRIALS):
        (scores,), labels, statement = draw(rng, 70, 15, 0.3, unbalanced=False)
        name = rng.integers(names, size=len(labels)) + names * labels
        # The names' effect is 5% of the variance.
        scores = 0.95**0.5 * (scores - GAP * labels) + 0.05**0.5 * rng.normal(size=2 * names)[name] + GAP * labels
        for with_names in (True, False):
            found = auroc(scores, labels, clusters=(statement, name) if with_names else statement)
            hit = found.low <= truth <= found.high
            crossed, alone = crossed + hit * with_names, alone + hit * (not with_names)
    assert crossed / TRIALS >= 0.88 >= alone / TRIALS


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_auroc_within_answers(correlation):
    """An answer that tells the classes apart, and a score that shows the answer and nothing else."""
    rng = np.random.default_rng(0)
    within = differs = 0
    for _ in range(TRIALS):
        (noise,), labels, statement = draw(rng, 70, 8, correlation, unbalanced=False)
        answer = rng.random(len(labels)) < np.where(labels == 1, 0.7, 0.3)
        found = stratified_auroc(noise - GAP * labels + answer, labels, answer, clusters=statement)
        within += found.within.low <= 0.5 <= found.within.high
        differs += found.difference.high < 0
    assert within / TRIALS >= 0.9
    assert differs / TRIALS > 0.9
