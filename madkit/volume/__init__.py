"""The probability mass around a weight vector in which a function, or a language model's behaviour, hardly changes."""

from madkit.volume.estimation.estimate import VolumeEstimate, log_mean_exp
from madkit.volume.estimation.integral import log_mass
from madkit.volume.lm.divergence import kl_divergence
from madkit.volume.of_function import log_volume
from madkit.volume.of_lm import MeanDivergence, lm_log_volume
from madkit.volume.weights.preconditioner import Blocks, Diagonal, Matrix, Preconditioner, adam_scales, inverse_root
from madkit.volume.weights.weights import Weights

__all__ = [
    "Blocks",
    "Diagonal",
    "Matrix",
    "MeanDivergence",
    "Preconditioner",
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
