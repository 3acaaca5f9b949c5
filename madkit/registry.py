"""Import every class that a recipe may name, so that YAML can say ``class_path: Mahalanobis``."""

from madkit.data.corpus import CorpusData
from madkit.data.quirky import QuirkyData
from madkit.data.text import TextData
from madkit.detection.data import StoreData
from madkit.detection.detect import Detection
from madkit.features import (
    SAE,
    Activations,
    Answers,
    Attribution,
    Extractor,
    Flow,
    LocalVolume,
    LocalVolumeRadii,
    ProbeShift,
    StoredExtractor,
    StoredShards,
)
from madkit.heads.data import ActivationData
from madkit.heads.flow import FlowHead
from madkit.heads.sae import SAEHead
from madkit.heads.stored import StoredActivations
from madkit.lm.pretraining import BaseLM
from madkit.lm.tuning import QuirkyLM
from madkit.scores import *  # noqa: F403

__all__ = [
    "SAE",
    "ActivationData",
    "Activations",
    "Answers",
    "Attribution",
    "BaseLM",
    "CorpusData",
    "Detection",
    "Extractor",
    "Flow",
    "FlowHead",
    "LocalVolume",
    "LocalVolumeRadii",
    "ProbeShift",
    "QuirkyData",
    "QuirkyLM",
    "SAEHead",
    "StoreData",
    "StoredActivations",
    "StoredExtractor",
    "StoredShards",
    "TextData",
]
