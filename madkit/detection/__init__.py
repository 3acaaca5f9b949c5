"""Scores meet labels: AUROC with intervals, paired comparisons, averages over datasets.

Names are resolved on first use, so that reading results does not import what trains.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from madkit.detection.data import StoreData
    from madkit.detection.detect import Detection, Detector
    from madkit.detection.statistics import Comparison, Interval, auroc, compare, holm, mean_interval

SOURCES = {
    "Comparison": "madkit.detection.statistics",
    "Detection": "madkit.detection.detect",
    "Detector": "madkit.detection.detect",
    "Interval": "madkit.detection.statistics",
    "StoreData": "madkit.detection.data",
    "auroc": "madkit.detection.statistics",
    "compare": "madkit.detection.statistics",
    "holm": "madkit.detection.statistics",
    "mean_interval": "madkit.detection.statistics",
}

__all__ = [
    "Comparison",
    "Detection",
    "Detector",
    "Interval",
    "StoreData",
    "auroc",
    "compare",
    "holm",
    "mean_interval",
]


def __getattr__(name: str) -> Any:
    if name not in SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(SOURCES[name]), name)
