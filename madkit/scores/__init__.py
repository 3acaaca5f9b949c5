"""A vector becomes a score: one class per file, all with the interface of `Score`."""

from madkit.scores.answer_mahalanobis import AnswerMahalanobis
from madkit.scores.common.fixed_score import FixedScore
from madkit.scores.common.score import Score, load_score
from madkit.scores.common.score_collection import ScoreCollection
from madkit.scores.conditional_t import ConditionalT
from madkit.scores.diagonal_mahalanobis import DiagonalMahalanobis
from madkit.scores.energy import Energy
from madkit.scores.gaussian_mixture import GaussianMixture
from madkit.scores.isolation_forest import IsolationForest
from madkit.scores.k_nearest_neighbours import KNearestNeighbours
from madkit.scores.laplace_nll import LaplaceNLL
from madkit.scores.likelihood_ratio import LikelihoodRatio
from madkit.scores.local_outlier_factor import LocalOutlierFactor
from madkit.scores.low_value import LowValue
from madkit.scores.mahalanobis import Mahalanobis
from madkit.scores.max_softmax import MaxSoftmax
from madkit.scores.novel_latents import NovelLatents
from madkit.scores.principal_residual import PrincipalResidual
from madkit.scores.quantum_entropy import QuantumEntropy
from madkit.scores.sklearn_estimator import SklearnEstimator
from madkit.scores.trusted_range import TrustedRange

__all__ = [
    "AnswerMahalanobis",
    "ConditionalT",
    "DiagonalMahalanobis",
    "Energy",
    "FixedScore",
    "GaussianMixture",
    "IsolationForest",
    "KNearestNeighbours",
    "LaplaceNLL",
    "LikelihoodRatio",
    "LocalOutlierFactor",
    "LowValue",
    "Mahalanobis",
    "MaxSoftmax",
    "NovelLatents",
    "PrincipalResidual",
    "QuantumEntropy",
    "Score",
    "ScoreCollection",
    "SklearnEstimator",
    "TrustedRange",
    "load_score",
]
