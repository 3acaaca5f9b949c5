"""Import every class that a recipe may name, so that YAML can say ``class_path: Mahalanobis``."""

from madkit.data.corpus import CorpusData
from madkit.data.quirky import QuirkyData
from madkit.detection.data import StoreData
from madkit.detection.detect import Detection
from madkit.features import Activations, Answers, Attribution, Extractor, ProbeShift
from madkit.lm.pretraining import BaseLM
from madkit.lm.tuning import QuirkyLM
from madkit.scores import *  # noqa: F403

__all__ = [
    "Activations",
    "Answers",
    "Attribution",
    "BaseLM",
    "CorpusData",
    "Detection",
    "Extractor",
    "ProbeShift",
    "QuirkyData",
    "QuirkyLM",
    "StoreData",
]
