"""Statistics of rows that stream in: float64, mergeable, exact for any number of processes."""

from madkit.streaming.accumulator import Accumulator, merge_processes
from madkit.streaming.covariance import CovarianceStatistics, Spectrum
from madkit.streaming.extremes import Extremes, Range
from madkit.streaming.moments import Moments
from madkit.streaming.pool import Pool
from madkit.streaming.row_count import RowCount
from madkit.streaming.used_features import UsedFeatures
from madkit.streaming.validation import sparse_rows
from madkit.streaming.variances import FeatureStatistics, Variances

__all__ = [
    "Accumulator",
    "CovarianceStatistics",
    "Extremes",
    "FeatureStatistics",
    "Moments",
    "Pool",
    "Range",
    "RowCount",
    "Spectrum",
    "UsedFeatures",
    "Variances",
    "merge_processes",
    "sparse_rows",
]
