"""Arguments and rows that no score takes."""

import math

import numpy as np
import pytest

from madkit.errors import ConfigError, DataError
from madkit.scores import (
    DiagonalMahalanobis,
    Energy,
    GaussianMixture,
    IsolationForest,
    KNearestNeighbours,
    LocalOutlierFactor,
    Mahalanobis,
    NovelLatents,
    PrincipalResidual,
    QuantumEntropy,
    Score,
    ScoreCollection,
)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Mahalanobis(rcond=2), "rcond=2"),
        (lambda: Mahalanobis(shrinkage="oas"), "shrinkage='oas'"),
        (lambda: Mahalanobis(residual=-1), "residual=-1"),
        (lambda: LocalOutlierFactor(k=0), "k=0"),
        (lambda: LocalOutlierFactor(variant="fast"), "variant='fast'"),
        (lambda: DiagonalMahalanobis(ridge=0), "ridge=0"),
        (lambda: QuantumEntropy(about="test"), "about='test'"),
        (lambda: QuantumEntropy(alpha=-1), "alpha=-1"),
        (lambda: QuantumEntropy(alpha=math.nan), "alpha=nan"),
        (lambda: LocalOutlierFactor(k=2.5), "k=2.5"),
        (lambda: LocalOutlierFactor(probes=2.5), "probes=2.5"),
        (lambda: IsolationForest(trees=0), "trees=0"),
    ],
)
def test_bad_arguments_are_named(build, named):
    with pytest.raises(ConfigError) as caught:
        build()
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: KNearestNeighbours(k=0), "k=0"),
        (lambda: KNearestNeighbours(metric="manhattan"), "metric='manhattan'"),
        (lambda: KNearestNeighbours(reduce="max"), "reduce='max'"),
        (lambda: PrincipalResidual(keep=0), "keep=0"),
        (lambda: PrincipalResidual(keep=-3), "keep=-3"),
        (lambda: PrincipalResidual(keep=1.0), "keep=1.0"),
        (lambda: PrincipalResidual(keep=0.0), "keep=0.0"),
        (lambda: PrincipalResidual(keep=True), "keep=True"),
        (lambda: GaussianMixture(components=0), "components=0"),
        (lambda: GaussianMixture(dims=0), "dims=0"),
        (lambda: Energy(temperature=0), "temperature=0"),
        (lambda: Energy(temperature=math.inf), "temperature=inf"),
    ],
)
def test_arguments_out_of_range_are_named(build, named):
    with pytest.raises(ConfigError) as caught:
        build()
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", [KNearestNeighbours, LocalOutlierFactor])
def test_whole_numbers_may_be_written_with_a_point(score):
    trusted, test = draw(50, 3), draw(5, 3, 1)
    given, usual = score(k=5.0, probes=8.0), score(k=5, probes=8)
    assert given.name == usual.name and given.config == usual.config
    assert all(type(value) is int for value in (given.k, given.probes, given.neighbours))
    np.testing.assert_array_equal(given.fit(trusted)(test), usual.fit(trusted)(test))


class Logarithm(NovelLatents):
    """A score that goes wrong: minus infinity where nothing is novel; with an option that is a dictionary."""

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.weights = weights

    def score(self, x):
        return super().score(x).log()


def test_a_score_that_is_not_finite_is_an_error():
    trusted, test = np.eye(4)[:2], np.eye(4)
    for score in (Logarithm(), ScoreCollection([Logarithm()])):
        with pytest.raises(DataError, match="logarithm of 2 of 4 rows is NaN or infinite"):
            score.fit(trusted)(test)
        score(test[2:])
    with pytest.raises(DataError, match="mahalanobis of 1 of 2 rows"):
        Mahalanobis().fit(draw(50, 3))(np.array([[0.0, 0, 0], [1e200, 0, 0]]))
    with pytest.raises(DataError, match="knn_k3 of 1 of 2 rows"):
        KNearestNeighbours(k=3).fit(draw(50, 3))(np.array([[0.0, 0, 0], [1e200, 0, 0]]))


def test_names_can_tell_dictionaries_apart(tmp_path):
    score = Logarithm({"b": 2.0, "a": 0.5})
    assert score.name == "logarithm_weights_a0.5_b2.0"
    assert Logarithm().name == "logarithm"
    score.fit(np.eye(3)[:1]).save(tmp_path)
    assert Score.load(tmp_path).config == {"weights": {"a": 0.5, "b": 2.0}}
