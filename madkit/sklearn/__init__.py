"""Scores as estimators of scikit-learn."""

from madkit.sklearn.detector import Detector

__all__ = ["Detector"]
