"""What every statistic of scores and labels demands of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import float_array, plain_array
from madkit.errors import DataError


def check_scores(scores: Sequence[ArrayLike] | np.ndarray, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Several scores of the same rows and their labels, as arrays.

    Args:
        scores: each (n,) finite numbers, higher = more anomalous.
        labels: (n,) booleans or 0 and 1; 1 is anomalous.

    Returns:
        Scores (s, n) float64 and labels (n,) bool.

    Raises:
        DataError: a score is not finite, a label is not 0 or 1, a class is missing, or the lengths differ.
    """
    label = plain_array(labels, "labels")
    columns = [float_array(column, "scores") for column in scores]
    for column in columns:
        if column.ndim != 1 or column.shape != label.shape:
            raise DataError(f"scores of shape {column.shape} and labels of shape {label.shape}: give (n,) both")
        if not np.isfinite(column).all():
            raise DataError(f"{(~np.isfinite(column)).sum()} of {len(column)} scores are NaN or infinite: mend them")
    if not np.isin(label, (0, 1)).all():
        raise DataError(f"labels hold {np.unique(label)[:5].tolist()}: give 0 (normal) and 1 (anomalous)")
    anomalous = label.astype(bool)
    if anomalous.all() or not anomalous.any():
        raise DataError(f"labels have {int(anomalous.sum())} anomalous of {len(label)} rows: AUROC needs both classes")
    return np.stack(columns), anomalous
