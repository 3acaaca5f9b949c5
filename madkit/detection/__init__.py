"""Scores meet labels: AUROC and low-FPR statistics with intervals, paired comparisons, averages over datasets.

Names are resolved on first use, so that reading results does not import what trains.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from madkit.detection.aggregation import aggregate
    from madkit.detection.data import StoreData
    from madkit.detection.detect import Detection, Detector
    from madkit.detection.lowfpr import LowFPR, average_precision, low_fpr, partial_auroc, tpr_at_fpr
    from madkit.detection.pairs import Comparison, compare, compare_all, holm, mean_comparison
    from madkit.detection.statistics import Interval, auroc, mean_interval

SOURCES = {
    "Comparison": "madkit.detection.pairs",
    "Detection": "madkit.detection.detect",
    "Detector": "madkit.detection.detect",
    "Interval": "madkit.detection.statistics",
    "LowFPR": "madkit.detection.lowfpr",
    "StoreData": "madkit.detection.data",
    "aggregate": "madkit.detection.aggregation",
    "auroc": "madkit.detection.statistics",
    "average_precision": "madkit.detection.lowfpr",
    "compare": "madkit.detection.pairs",
    "compare_all": "madkit.detection.pairs",
    "holm": "madkit.detection.pairs",
    "low_fpr": "madkit.detection.lowfpr",
    "mean_comparison": "madkit.detection.pairs",
    "mean_interval": "madkit.detection.statistics",
    "partial_auroc": "madkit.detection.lowfpr",
    "tpr_at_fpr": "madkit.detection.lowfpr",
}

__all__ = [
    "Comparison",
    "Detection",
    "Detector",
    "Interval",
    "LowFPR",
    "StoreData",
    "aggregate",
    "auroc",
    "average_precision",
    "compare",
    "compare_all",
    "holm",
    "low_fpr",
    "mean_comparison",
    "mean_interval",
    "partial_auroc",
    "tpr_at_fpr",
]


def __getattr__(name: str) -> Any:
    if name not in SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(SOURCES[name]), name)
