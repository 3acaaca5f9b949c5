"""A vector becomes a score: one class per file, all with the interface of `Score`."""

from madkit.scores.answer_uncertainty import Energy, MaxSoftmax
from madkit.scores.common.score import Score
from madkit.scores.common.score_collection import ScoreCollection
from madkit.scores.common.serialization import load_score
from madkit.scores.diagonal_mahalanobis import DiagonalMahalanobis
from madkit.scores.gaussian_mixture import GaussianMixture
from madkit.scores.isolation_forest import IsolationForest
from madkit.scores.k_nearest_neighbours import KNearestNeighbours
from madkit.scores.laplace_nll import LaplaceNLL
from madkit.scores.likelihood_ratio import LikelihoodRatio
from madkit.scores.local_outlier_factor import LocalOutlierFactor
from madkit.scores.low_value import LowValue
from madkit.scores.mahalanobis import Mahalanobis
from madkit.scores.novel_latents import NovelLatents
from madkit.scores.principal_residual import PrincipalResidual
from madkit.scores.quantum_entropy import QuantumEntropy
from madkit.scores.sklearn_estimator import SklearnEstimator
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments
from madkit.streaming.pool import Pool
from madkit.streaming.validation import sparse_rows
from madkit.streaming.variances import FeatureStatistics, Variances

__all__ = [
    "CovarianceStatistics",
    "DiagonalMahalanobis",
    "Energy",
    "FeatureStatistics",
    "GaussianMixture",
    "IsolationForest",
    "KNearestNeighbours",
    "LaplaceNLL",
    "LikelihoodRatio",
    "LocalOutlierFactor",
    "LowValue",
    "Mahalanobis",
    "MaxSoftmax",
    "Moments",
    "NovelLatents",
    "Pool",
    "PrincipalResidual",
    "QuantumEntropy",
    "Score",
    "ScoreCollection",
    "SklearnEstimator",
    "Variances",
    "load_score",
    "sparse_rows",
]
