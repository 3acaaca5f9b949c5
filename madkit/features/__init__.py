"""A prompt becomes one vector per site."""

from madkit.features.activations import Activations
from madkit.features.answers import Answers
from madkit.features.attribution import Attribution
from madkit.features.base import Feature, Reading
from madkit.features.extract import Extractor
from madkit.features.heads import SAE, Flow
from madkit.features.local_volume import LocalVolume, LocalVolumeRadii
from madkit.features.probe import ProbeShift
from madkit.features.replay import StoredShards
from madkit.features.store import FeatureStore
from madkit.features.stored import StoredExtractor

__all__ = [
    "SAE",
    "Activations",
    "Answers",
    "Attribution",
    "Extractor",
    "Feature",
    "FeatureStore",
    "Flow",
    "LocalVolume",
    "LocalVolumeRadii",
    "ProbeShift",
    "Reading",
    "StoredExtractor",
    "StoredShards",
]
