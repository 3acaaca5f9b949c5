"""Scores and labels that no statistic can be computed of."""

import numpy as np
import pytest

from madkit.errors import DataError
from madkit.statistics import auroc, compare


@pytest.mark.parametrize(
    ("scores", "labels", "named"),
    [
        ([1.0, np.nan], [0, 1], "1 of 2 scores are NaN"),
        ([1.0, np.inf], [0, 1], "NaN or infinite"),
        ([], [], "0 anomalous of 0"),
        ([1.0, 2.0], [1, 1], "2 anomalous of 2"),
        ([1.0, 2.0], [0, 0], "0 anomalous of 2"),
        ([1.0, 2.0], [0, 2], "labels hold"),
        ([1.0, 2.0, 3.0], [0, 1], "shape"),
        ([[1.0, 2.0]], [[0, 1]], "shape"),
    ],
)
def test_bad_data_is_named(scores, labels, named):
    with pytest.raises(DataError, match=named):
        auroc(scores, labels)
    with pytest.raises(DataError, match=named):
        compare(scores, scores, labels)
