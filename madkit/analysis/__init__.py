"""What explains detection: how quirky a model is, and how far apart its states are."""

from madkit.analysis.quirkiness import accuracy, losses, quirkiness_coefficient
from madkit.analysis.state_separation import separation, separation_from_moments

__all__ = ["accuracy", "losses", "quirkiness_coefficient", "separation", "separation_from_moments"]
