"""The probability mass around a weight vector in which a function, or a language model's behaviour, hardly changes."""

from madkit.volume.estimation.ray_mass import log_mass
from madkit.volume.estimation.volume_estimate import VolumeEstimate, log_mean_exp
from madkit.volume.function_volume import log_volume
from madkit.volume.lm.divergence import kl_divergence
from madkit.volume.lm.mean_divergence import MeanDivergence
from madkit.volume.lm_volume import lm_log_volume
from madkit.volume.prompt_volumes import PromptRadii, PromptVolumes
from madkit.volume.weight_space.preconditioners import (
    Blocks,
    Diagonal,
    Matrix,
    Preconditioner,
    adam_scales,
    inverse_root,
)
from madkit.volume.weight_space.weights import Weights

__all__ = [
    "Blocks",
    "Diagonal",
    "Matrix",
    "MeanDivergence",
    "Preconditioner",
    "PromptRadii",
    "PromptVolumes",
    "VolumeEstimate",
    "Weights",
    "adam_scales",
    "inverse_root",
    "kl_divergence",
    "lm_log_volume",
    "log_mass",
    "log_mean_exp",
    "log_volume",
]
