"""What explains detection: how quirky a model is, how separate its states, and how the two correlate."""

from typing import TYPE_CHECKING, Any

from madkit.analysis.components import Components, principal_components
from madkit.analysis.correlation import pearson, r_squared, spearman
from madkit.analysis.curve import LogisticCurve, logistic_curve
from madkit.analysis.quirkiness import Accuracy, Losses, accuracy, losses, quirkiness_coefficient
from madkit.analysis.ranks import RankComparison, cliques, rank_comparison
from madkit.analysis.roc import Roc, roc, roc_band
from madkit.analysis.separation import Separation, separation, separation_from_moments

if TYPE_CHECKING:
    from madkit.analysis.streaming import StreamingSeparation

__all__ = [
    "Accuracy",
    "Components",
    "LogisticCurve",
    "Losses",
    "RankComparison",
    "Roc",
    "Separation",
    "StreamingSeparation",
    "accuracy",
    "cliques",
    "logistic_curve",
    "losses",
    "pearson",
    "principal_components",
    "quirkiness_coefficient",
    "r_squared",
    "rank_comparison",
    "roc",
    "roc_band",
    "separation",
    "separation_from_moments",
    "spearman",
]


def __getattr__(name: str) -> Any:
    # The only name that needs torch, which drawing figures should not wait for.
    if name == "StreamingSeparation":
        from madkit.analysis.streaming import StreamingSeparation

        return StreamingSeparation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
