"""Rank trajectories by sorting, a prompt at a time."""

import math

import numpy as np
import pytest
import torch

from madkit.derived import Answered, RankTrajectories
from madkit.errors import ConfigError, DataError


def prompts(n, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 2))
    yes = logits[:, 1] > logits[:, 0]
    layers = [rng.normal(size=(n, 3)) + depth * yes[:, None] for depth in (0, 1, 3)]
    return [torch.tensor(x) for x in (*layers, logits)]


def by_sorting(new, trusted, tube, leave_out):
    *layers, logits = [x.numpy() for x in new]
    *pools, pool_logits = [x.numpy() for x in trusted]
    yes, pool_yes = logits[:, 1] > logits[:, 0], pool_logits[:, 1] > pool_logits[:, 0]
    ranks = np.zeros((len(yes), len(layers)))
    for depth, (x, pool) in enumerate(zip(layers, pools, strict=True)):
        for i, row in enumerate(x):
            order = [j for j in np.argsort(np.linalg.norm(pool - row, axis=1)) if not (leave_out and i == j)]
            first = next(k for k, j in enumerate(order) if pool_yes[j] == yes[i])
            ranks[i, depth] = first
            if tube is not None:
                centre = order[first]
                others = [j for j in range(len(pool)) if j != centre and pool_yes[j] == yes[i]]
                near = np.sort(np.linalg.norm(pool[others] - pool[centre], axis=1))
                k = min(math.ceil((len(others) + 1) * tube), len(others))
                if np.linalg.norm(pool[centre] - row) > near[k - 1]:
                    ranks[i, depth] = len(pool) - 1
    return ranks


@pytest.mark.parametrize("tube", [None, 0.1, 1.0])
@pytest.mark.parametrize("leave_out", [False, True])
def test_ranks_are_those_of_a_sorted_list(tube, leave_out):
    trusted = prompts(30)
    new = trusted if leave_out else prompts(12, seed=1)
    trajectories = RankTrajectories(tube=tube)
    trajectories.update([x[:7] for x in trusted])
    trajectories.update([x[7:] for x in trusted])
    actual = trajectories(new, trusted=leave_out)
    expected = by_sorting(new, trusted, tube, leave_out)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(expected)) > 3


def test_the_last_layer_tells_the_answers_apart():
    trajectories = RankTrajectories()
    trajectories.update(prompts(60))
    ranks = trajectories(prompts(40, seed=1)).mean(0)
    assert ranks[2] < ranks[0]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="tube=0"):
        RankTrajectories(tube=0)
    trajectories = RankTrajectories()
    trajectories.update([torch.randn(5, 2), torch.tensor([[0.0, 1.0]]).repeat(5, 1)])
    with pytest.raises(DataError, match="0 trusted prompts with the first choice and 5 with the second"):
        trajectories.finalize()


def test_the_answer_stands_beside_the_vector():
    x, logits = torch.ones(2, 3), torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    assert Answered()([x, logits])[:, -1].tolist() == [2.0, -2.0]
