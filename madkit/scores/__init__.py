"""A vector becomes a score: one class per file, all with the interface of `Score`."""

from madkit.scores.base import Score
from madkit.scores.diagonal import DiagonalMahalanobis
from madkit.scores.entropy import QuantumEntropy
from madkit.scores.isolation import IsolationForest
from madkit.scores.laplace import LaplaceNLL
from madkit.scores.likelihood import LikelihoodRatio
from madkit.scores.lof import LocalOutlierFactor
from madkit.scores.mahalanobis import Mahalanobis
from madkit.scores.novel import NovelLatents
from madkit.scores.storage import load_score

__all__ = [
    "DiagonalMahalanobis",
    "IsolationForest",
    "LaplaceNLL",
    "LikelihoodRatio",
    "LocalOutlierFactor",
    "Mahalanobis",
    "NovelLatents",
    "QuantumEntropy",
    "Score",
    "load_score",
]
