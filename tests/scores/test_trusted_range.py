"""How far a row leaves the range of the trusted rows."""

import numpy as np
import pytest
import torch

from madkit.errors import DataError
from madkit.scores import TrustedRange


def test_it_is_the_furthest_departure_in_widths_of_the_range():
    rng = np.random.default_rng(0)
    trusted, test = rng.normal(size=(30, 4)), rng.normal(size=(50, 4)) * 2
    trusted[:, 3] = 1.0
    values = TrustedRange().fit(torch.tensor(trusted))(torch.tensor(test)).numpy()
    expected = []
    for x in test:
        beyond = [
            max(t.min() - value, value - t.max()) / (t.max() - t.min())
            for value, t in zip(x[:3], trusted.T[:3], strict=True)
        ]
        expected.append(max(beyond))
    np.testing.assert_allclose(values, expected)
    outside = ((test < trusted.min(0)) | (test > trusted.max(0)))[:, :3].any(1)
    np.testing.assert_array_equal(values > 0, outside)
    assert (TrustedRange().fit(torch.tensor(trusted))(torch.tensor(trusted)) <= 0).all()


def test_rows_that_are_all_alike_have_no_range():
    with pytest.raises(DataError, match="no feature varies"):
        TrustedRange().fit(torch.ones(5, 2))
