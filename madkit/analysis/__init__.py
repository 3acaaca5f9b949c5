"""What explains detection: how quirky a model is, and how far apart its states are."""

from madkit.analysis.answer_margins import answer_margin
from madkit.analysis.principal_components import PrincipalComponents, first_principal_components
from madkit.analysis.quirkiness import (
    CharacterAccuracy,
    CharacterLosses,
    accuracy,
    losses,
    quirkiness_coefficient,
)
from madkit.analysis.state_separation import StateSeparation, separation, separation_from_moments

# `StreamingSeparation` is not among them: it needs torch, and figures read numbers without it.
__all__ = [
    "CharacterAccuracy",
    "CharacterLosses",
    "PrincipalComponents",
    "StateSeparation",
    "accuracy",
    "answer_margin",
    "first_principal_components",
    "losses",
    "quirkiness_coefficient",
    "separation",
    "separation_from_moments",
]
