"""A vector becomes a score: one class per file, all with the interface of `Score`."""

from madkit.scores.base import Score
from madkit.scores.collection import ScoreCollection
from madkit.scores.diagonal import DiagonalMahalanobis
from madkit.scores.entropy import QuantumEntropy
from madkit.scores.isolation import IsolationForest
from madkit.scores.laplace import LaplaceNLL
from madkit.scores.likelihood import LikelihoodRatio
from madkit.scores.lof import LocalOutlierFactor
from madkit.scores.mahalanobis import Mahalanobis
from madkit.scores.moments import Moments, Statistics
from madkit.scores.novel import NovelLatents
from madkit.scores.pool import Pool
from madkit.scores.rows import sparse_rows
from madkit.scores.storage import load_score
from madkit.scores.variances import FeatureStatistics, Variances

__all__ = [
    "DiagonalMahalanobis",
    "FeatureStatistics",
    "IsolationForest",
    "LaplaceNLL",
    "LikelihoodRatio",
    "LocalOutlierFactor",
    "Mahalanobis",
    "Moments",
    "NovelLatents",
    "Pool",
    "QuantumEntropy",
    "Score",
    "ScoreCollection",
    "Statistics",
    "Variances",
    "load_score",
    "sparse_rows",
]
