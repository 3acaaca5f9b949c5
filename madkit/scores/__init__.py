"""A vector becomes a score: one class per file, all with the interface of `Score`."""

from madkit.scores.base import Score
from madkit.scores.collection import ScoreCollection
from madkit.scores.covariance import Statistics
from madkit.scores.diagonal import DiagonalMahalanobis
from madkit.scores.entropy import QuantumEntropy
from madkit.scores.estimator import Estimator
from madkit.scores.isolation import IsolationForest
from madkit.scores.knn import KNearestNeighbours
from madkit.scores.laplace import LaplaceNLL
from madkit.scores.likelihood import LikelihoodRatio
from madkit.scores.lof import LocalOutlierFactor
from madkit.scores.logits import Energy, MaxSoftmax
from madkit.scores.low import LowValue
from madkit.scores.mahalanobis import Mahalanobis
from madkit.scores.mixture import GaussianMixture
from madkit.scores.moments import Moments
from madkit.scores.novel import NovelLatents
from madkit.scores.pool import Pool
from madkit.scores.residual import PrincipalResidual
from madkit.scores.rows import sparse_rows
from madkit.scores.storage import load_score
from madkit.scores.variances import FeatureStatistics, Variances

__all__ = [
    "DiagonalMahalanobis",
    "Energy",
    "Estimator",
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
    "Statistics",
    "Variances",
    "load_score",
    "sparse_rows",
]
