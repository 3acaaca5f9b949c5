"""Import every class that a recipe may name, so that YAML can say ``class_path: Mahalanobis``."""

from madkit.data.pretraining.corpus_data import CorpusData
from madkit.data.pretraining.text_data import TextData
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.encoders.activation_data import ActivationData
from madkit.encoders.flow.flow_encoder import FlowEncoder
from madkit.encoders.sae.sae_encoder import SAEEncoder
from madkit.encoders.stored_activations import StoredActivations
from madkit.extraction.extractor import Extractor
from madkit.extraction.stored_data import StoredShards
from madkit.extraction.stored_extractor import StoredExtractor
from madkit.features import SAE, Activations, Answers, Attribution, Flow, LocalVolume, LocalVolumeRadii, ProbeShift
from madkit.lm.base_lm import BaseLM
from madkit.lm.quirky_lm import QuirkyLM
from madkit.poser.data import PoserData
from madkit.poser.family.scenario_corpus import ScenarioCorpus
from madkit.poser.family.scenario_data import ScenarioData
from madkit.poser.measure.perturbations import GaussianNoise, RandomDirection, Steering
from madkit.poser.measure.weight_volume import WeightVolume
from madkit.poser.module import Poser
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
    "FlowEncoder",
    "GaussianNoise",
    "LocalVolume",
    "LocalVolumeRadii",
    "Poser",
    "PoserData",
    "ProbeShift",
    "QuirkyData",
    "QuirkyLM",
    "RandomDirection",
    "SAEEncoder",
    "ScenarioCorpus",
    "ScenarioData",
    "Steering",
    "StoreData",
    "StoredActivations",
    "StoredExtractor",
    "StoredShards",
    "TextData",
    "WeightVolume",
]
