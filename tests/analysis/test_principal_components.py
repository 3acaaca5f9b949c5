"""The first two components against scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from madkit.analysis import first_principal_components
from madkit.errors import DataError


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
def test_components_are_those_of_sklearn(shape):
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1]) + 5
    found, theirs = first_principal_components(x), PCA(2).fit(x)
    np.testing.assert_allclose(np.abs(found.scores), np.abs(theirs.transform(x)), atol=1e-8)
    np.testing.assert_allclose(found.shares, theirs.explained_variance_ratio_, atol=1e-10)
    np.testing.assert_allclose(first_principal_components(x[::-1]).scores[::-1], found.scores, atol=1e-8)
    with pytest.raises(DataError, match="equal"):
        first_principal_components(np.ones((3, 2)))
