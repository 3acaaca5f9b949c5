"""Import every module with a class that a recipe may name, so that YAML can say ``class_path: Mahalanobis``."""

# ruff: noqa: F401 - a class goes by its short name once its module is imported

import madkit.data.pretraining.corpus_data
import madkit.data.pretraining.text_data
import madkit.data.quirky.quirky_data
import madkit.detection.data
import madkit.detection.detection
import madkit.encoders.activation_data
import madkit.encoders.flow.flow_encoder
import madkit.encoders.sae.sae_encoder
import madkit.encoders.stored_activations
import madkit.extraction.extractor
import madkit.extraction.stored_data
import madkit.extraction.stored_extractor
import madkit.features
import madkit.lm.base_lm
import madkit.lm.quirky_lm
import madkit.poser.data
import madkit.poser.family.scenario_corpus
import madkit.poser.family.scenario_data
import madkit.poser.measure.perturbations
import madkit.poser.measure.weight_volume
import madkit.poser.module
import madkit.scores
import madkit.training.log_spaced_checkpoints
from madkit.cli.extensions import load_extensions

load_extensions()
