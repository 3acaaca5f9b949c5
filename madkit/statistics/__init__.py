"""Statistics of scores and labels: arrays in, numbers with intervals out."""

from madkit.statistics.aggregation import aggregate
from madkit.statistics.auroc import Interval, auroc, mean_interval
from madkit.statistics.comparisons import Comparison, compare, compare_all, holm, mean_comparison
from madkit.statistics.correlation import pearson, r_squared, spearman
from madkit.statistics.logistic_curve import logistic_curve
from madkit.statistics.low_fpr import LowFPR, average_precision, low_fpr, partial_auroc, tpr_at_fpr
from madkit.statistics.rank_comparison import cliques, rank_comparison
from madkit.statistics.roc import roc, roc_band

__all__ = [
    "Comparison",
    "Interval",
    "LowFPR",
    "aggregate",
    "auroc",
    "average_precision",
    "cliques",
    "compare",
    "compare_all",
    "holm",
    "logistic_curve",
    "low_fpr",
    "mean_comparison",
    "mean_interval",
    "partial_auroc",
    "pearson",
    "r_squared",
    "rank_comparison",
    "roc",
    "roc_band",
    "spearman",
    "tpr_at_fpr",
]
