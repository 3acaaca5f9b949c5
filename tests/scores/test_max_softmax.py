"""Maximum softmax probability against its definition."""

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from madkit.errors import DataError
from madkit.scores import (
    MaxSoftmax,
)


@settings(max_examples=100)
@given(x=arrays(float, (6, 3), elements=st.floats(-20, 20)))
def test_max_softmax_is_the_log_odds_against_the_best_answer(x):
    p = scipy.special.softmax(x, axis=1).max(1)
    rest = scipy.special.softmax(x, axis=1).sum(1) - p
    values = MaxSoftmax().fit(x)(x).numpy()
    sure = p > 1 - 1e-6
    np.testing.assert_allclose(values[~sure], np.log(rest / p)[~sure], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(values)), p, rtol=1e-12)


def test_max_softmax_never_saturates():
    gaps = np.array([0, 1, 30, 37, 40, 700, 800, 5000.0])
    x = np.stack([np.zeros(8), gaps], 1)
    assert len(set(scipy.special.softmax(x, axis=1).max(1))) < 8
    np.testing.assert_array_equal(MaxSoftmax().fit(x)(x), -gaps)
    # Three answers, two of them equally far behind.
    assert MaxSoftmax().fit(x[:, :1].repeat(3, 1))(np.array([[0.0, 900, 0]])).item() == math.log(2) - 900
    with pytest.raises(DataError, match="d=1 logit"):
        MaxSoftmax().fit(x[:, :1])
