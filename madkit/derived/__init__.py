"""Features that are made of stored ones: no pass of a language model, and nothing stored a second time."""

from madkit.derived.answered import Answered
from madkit.derived.conditional import Conditional
from madkit.derived.delta import Delta
from madkit.derived.derived_feature import DerivedFeature, DerivedSite
from madkit.derived.layer_differences import LayerDifferences
from madkit.derived.model_difference import ModelDifference
from madkit.derived.paired import Paired
from madkit.derived.rank_trajectories import RankTrajectories

__all__ = [
    "Answered",
    "Conditional",
    "Delta",
    "DerivedFeature",
    "DerivedSite",
    "LayerDifferences",
    "ModelDifference",
    "Paired",
    "RankTrajectories",
]
