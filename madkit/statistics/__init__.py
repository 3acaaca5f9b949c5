"""Statistics of scores and labels: arrays in, numbers with intervals out."""

from madkit.statistics.aggregation import aggregate
from madkit.statistics.auroc_interval import auroc
from madkit.statistics.clustered_prompts import prompt_clusters
from madkit.statistics.comparison import Comparison, compare, compare_all, holm
from madkit.statistics.conformal import (
    benjamini_hochberg,
    conformal_p_values,
    needed_calibration,
    realised_rate,
    smallest_rate,
)
from madkit.statistics.conformal_martingale import ConformalMartingale
from madkit.statistics.correlation import pearson, r_squared, spearman
from madkit.statistics.crossed_pairs import crossed_mean, pairwise_wins
from madkit.statistics.dataset_means import mean_comparison, mean_interval
from madkit.statistics.interval import Interval
from madkit.statistics.logistic_curve import LogisticCurve, fit_logistic_curve
from madkit.statistics.low_fpr_statistics import (
    LowFPRStatistics,
    average_precision,
    low_fpr,
    partial_auroc,
    tpr_at_fpr,
)
from madkit.statistics.nested_seeds import (
    VarianceComponents,
    nested_mean_comparison,
    nested_mean_interval,
    variance_components,
)
from madkit.statistics.rank_comparison import RankComparison, cliques, compare_ranks
from madkit.statistics.roc_curve import RocCurve, independent_rows, roc, roc_band
from madkit.statistics.stratification import StratifiedAUROC, stratified_auroc
from madkit.statistics.stream_null import StreamNull, recalibrated_p_values
from madkit.statistics.two_samples import TwoSampleTest, two_sample_test
from madkit.statistics.wilson import wilson_interval

__all__ = [
    "Comparison",
    "ConformalMartingale",
    "Interval",
    "LogisticCurve",
    "LowFPRStatistics",
    "RankComparison",
    "RocCurve",
    "StratifiedAUROC",
    "StreamNull",
    "TwoSampleTest",
    "VarianceComponents",
    "aggregate",
    "auroc",
    "average_precision",
    "benjamini_hochberg",
    "cliques",
    "compare",
    "compare_all",
    "compare_ranks",
    "conformal_p_values",
    "crossed_mean",
    "fit_logistic_curve",
    "holm",
    "independent_rows",
    "low_fpr",
    "mean_comparison",
    "mean_interval",
    "needed_calibration",
    "nested_mean_comparison",
    "nested_mean_interval",
    "pairwise_wins",
    "partial_auroc",
    "pearson",
    "prompt_clusters",
    "r_squared",
    "realised_rate",
    "recalibrated_p_values",
    "roc",
    "roc_band",
    "smallest_rate",
    "spearman",
    "stratified_auroc",
    "tpr_at_fpr",
    "two_sample_test",
    "variance_components",
    "wilson_interval",
]
