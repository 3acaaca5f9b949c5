"""A prompt becomes one vector per site."""

from madkit.features.activations import Activations
from madkit.features.answers import Answers
from madkit.features.attribution import Attribution
from madkit.features.encoded import SAE, Flow
from madkit.features.feature import Feature
from madkit.features.local_volume import LocalVolume, LocalVolumeRadii
from madkit.features.lora_activity import LoraActivity
from madkit.features.probe_shift import ProbeShift
from madkit.features.trace import Trace
from madkit.features.update_directions import UpdateDirections

__all__ = [
    "SAE",
    "Activations",
    "Answers",
    "Attribution",
    "Feature",
    "Flow",
    "LocalVolume",
    "LocalVolumeRadii",
    "LoraActivity",
    "ProbeShift",
    "Trace",
    "UpdateDirections",
]
