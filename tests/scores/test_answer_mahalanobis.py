"""`AnswerMahalanobis` by its definition and by scikit-learn's shared-covariance discriminant analysis."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from madkit.errors import ConfigError, DataError
from madkit.scores import AnswerMahalanobis


def rows(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=n) + 0.5
    return np.column_stack([rng.normal(size=(n, d)) + 2 * (odds > 0)[:, None], odds])


def test_the_distance_is_to_the_mean_of_the_rows_own_answer():
    trusted, new = rows(), rows(10, seed=1)
    x, y = trusted[:, :-1], (trusted[:, -1] > 0).astype(int)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(x, y)
    # It divides by n where the formula has n - 2.
    precision = np.linalg.inv(analysis.covariance_ * 60 / 58)
    both = np.stack(
        [np.einsum("ij,jk,ik->i", e, precision, e) / 3 for e in (new[:, None, :-1] - analysis.means_).swapaxes(0, 1)]
    )
    own = both[(new[:, -1] > 0).astype(int), np.arange(10)]
    np.testing.assert_allclose(AnswerMahalanobis(rcond=0).fit(trusted)(new), own, rtol=1e-9)
    np.testing.assert_allclose(AnswerMahalanobis("nearest", rcond=0).fit(trusted)(new), both.min(0), rtol=1e-9)
    centred = new[:, :-1] - x.mean(0)
    overall = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(x.T)), centred) / 3
    np.testing.assert_allclose(AnswerMahalanobis(relative=True, rcond=0).fit(trusted)(new), own - overall, rtol=1e-9)


def test_other_shares_of_answers_are_no_anomaly():
    trusted, new = rows(2000), rows(2000, seed=1)
    score = AnswerMahalanobis().fit(trusted)(new).numpy()
    assert abs(score[new[:, -1] > 0].mean() - score[new[:, -1] <= 0].mean()) < 0.1


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="'other'"):
        AnswerMahalanobis("other")
    with pytest.raises(ConfigError, match="rcond=2"):
        AnswerMahalanobis(rcond=2)
    with pytest.raises(DataError, match="0 trusted rows have a last number up to 0 and 20 above"):
        AnswerMahalanobis().fit(np.abs(rows(20)))
