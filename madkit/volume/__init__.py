"""The probability mass around a weight vector in which a function, or a language model's behaviour, hardly changes."""

from madkit.volume.divergence import kl_divergence
from madkit.volume.estimate import VolumeEstimate, log_mean_exp
from madkit.volume.integral import log_mass
from madkit.volume.model import MeanDivergence, lm_log_volume
from madkit.volume.preconditioner import Blocks, Diagonal, Matrix, Preconditioner, adam_scales, inverse_root
from madkit.volume.vector import log_volume
from madkit.volume.weights import Weights

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
