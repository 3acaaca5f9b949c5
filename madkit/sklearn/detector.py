"""A score as an outlier detector of scikit-learn's kind."""

from __future__ import annotations

import warnings
from math import floor, nextafter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from typing_extensions import override

from madkit.arrays import plain_array
from madkit.errors import ConfigError, DataError
from madkit.scores import Mahalanobis, Score
from madkit.statistics import needed_calibration, smallest_rate

Self = TypeVar("Self", bound="Detector")

#: How the names of parameters begin that are options of the score.
_OPTION = "anomaly_score__"


class Detector(OutlierMixin, BaseEstimator):
    """Any score of madkit where an outlier detector of scikit-learn is expected: pipelines, searches, `clone`.

    Signs are scikit-learn's: `score_samples` is minus the score, higher is more normal; `decision_function` is below 0
    and `predict` -1 for outliers. The opposite direction, an estimator of scikit-learn or PyOD as a score, is
    `madkit.scores.SklearnEstimator`.

    The rows of a fit get lower scores than new rows of the same kind, so that a threshold set by them, as scikit-learn
    does, calls too many new rows outliers: all of them, where there are fewer rows than features. Some rows are
    therefore held out of the fit, and the threshold is theirs: of new rows like the trusted ones at most the share
    `contamination` is called outliers, on average over draws of the trusted rows (split conformal prediction: Vovk,
    Gammerman and Shafer 2005; for outliers Bates et al. 2023, arXiv 2104.08279, section 2).

    Args:
        anomaly_score: the score, which is not changed: `fit` fits a new one with its options, which are parameters too,
            such as ``anomaly_score__rcond``. None is `Mahalanobis()`.
        contamination: the share of rows like the trusted ones that are called outliers, between 0 and 0.5.
        calibration: the share of the rows of `fit` that is held out, below 1. With 0 the threshold is that of the
            fitted rows, of which the share `contamination` is called outliers: scikit-learn's convention, for rows
            that hold outliers.
        random_state: which rows are held out.

    Attributes:
        score_: the fitted score.
        offset_: `decision_function` is `score_samples` minus this.
        calibration_scores_: the scores of the rows that were held out, ascending; those of all rows where none were.
        n_features_in_: the length of a row.
        feature_names_in_: the columns, where rows came as a frame.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> detector = Detector(Mahalanobis(), contamination=0.05).fit(rng.normal(size=(400, 8)))
        >>> detector.predict(np.array([[0.1] * 8, [3.0] * 8]))
        array([ 1, -1])
    """

    def __init__(
        self,
        anomaly_score: Score | None = None,
        *,
        contamination: float = 0.05,
        calibration: float = 0.3,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.anomaly_score = anomaly_score
        self.contamination = contamination
        self.calibration = calibration
        self.random_state = random_state

    def fit(self: Self, X: Any, y: Any = None, untrusted: Any = None) -> Self:
        """Learn from trusted rows.

        Args:
            X: (n, d): an array of any number type and layout, a frame, a sparse matrix, a tensor.
            y: ignored; scores see no labels.
            untrusted: (m, d) rows that an offline score learns from too.

        Raises:
            ConfigError: an argument is out of range.
            DataError: X cannot be read, holds NaN or infinite values, or too few rows.
        """
        if not 0 < self.contamination <= 0.5:
            raise ConfigError(f"contamination={self.contamination} is out of range: give a share in (0, 0.5]")
        if not 0 <= self.calibration < 1:
            raise ConfigError(f"calibration={self.calibration} is out of range: give a share in [0, 1)")
        rows = self._rows(X, reset=True)
        given = Mahalanobis() if self.anomaly_score is None else self.anomaly_score
        if not isinstance(given, Score):
            raise ConfigError(
                f"anomaly_score={given!r} is no score: give an instance, such as madkit.scores.Mahalanobis()"
            )
        score = type(given)(**given.config)
        n = rows.shape[0]
        held_out = max(1, round(self.calibration * n)) if self.calibration else 0
        order = check_random_state(self.random_state).permutation(n) if held_out else np.arange(n)
        others = None if untrusted is None else self._rows(untrusted, reset=False)
        self.score_ = score.fit(rows[np.sort(order[held_out:])], others)
        judged = rows[order[:held_out]] if held_out else rows
        self.calibration_scores_ = np.sort(self.score_(judged).cpu().numpy())
        self.offset_ = -_threshold(self.calibration_scores_, self.contamination, bool(held_out))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the score of rows (n, d) -> (n,): higher is more normal.

        Raises:
            DataError: X cannot be read, has another d, or NaN or infinite values.
        """
        check_is_fitted(self)
        return -self.score_(self._rows(X, reset=False)).cpu().numpy()

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """`score_samples` minus `offset_`, (n,): below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """1 for rows like the trusted ones and -1 for outliers, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    @override
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        params: dict[str, Any] = super().get_params(deep)
        if deep and isinstance(self.anomaly_score, Score):
            params |= {f"{_OPTION}{name}": value for name, value in self.anomaly_score.config.items()}
        return params

    @override
    def set_params(self: Self, **params: Any) -> Self:
        options = {name: params.pop(name) for name in list(params) if name.startswith(_OPTION)}
        super().set_params(**params)
        if options:
            score = Mahalanobis() if self.anomaly_score is None else self.anomaly_score
            changed = {name.removeprefix(_OPTION): value for name, value in options.items()}
            if unknown := sorted(changed.keys() - score.options().keys()):
                raise ConfigError(
                    f"{_OPTION}{unknown[0]}: {score.short} has {', '.join(score.options()) or 'no options'}"
                )
            self.anomaly_score = type(score)(**{**score.config, **changed})
        return self

    @override
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _rows(self, X: Any, reset: bool) -> Any:
        """Rows as scores take them, by the rules of scikit-learn and in one line where they are broken.

        Raises:
            DataError: they are.
        """
        if isinstance(X, Tensor) or np.ma.isMaskedArray(X):  # of which scikit-learn reads some wrongly
            X = plain_array(X, "X")
        least = 1 if not reset else 3 if self.calibration else 2
        try:
            return validate_data(self, X, reset=reset, accept_sparse="csr", dtype="numeric", ensure_min_samples=least)
        except (ValueError, TypeError) as error:
            raise DataError(" ".join(str(error).split())) from error


def _threshold(scores: NDArray[np.float64], share: float, held_out: bool) -> float:
    """The lowest score that is no outlier's: what scores above it are outliers.

    Args:
        scores: (m,) ascending, of the rows by which the threshold is set.
        share: of outliers.
        held_out: whether the rows were; else the share is that among them.
    """
    m = len(scores)
    if not held_out:
        return float(np.percentile(scores, 100 * (1 - share)))
    # An outlier's p-value, (1 + number of scores >= its own) / (1 + m), is at most the share.
    above = floor(nextafter(share * (1 + m), np.inf)) - 1
    if above < 0:
        warnings.warn(
            f"contamination={share} needs {needed_calibration(share)} rows that are held out and there are {m}: what "
            f"scores above them all is called an outlier, {smallest_rate(m):.3g} of rows like the trusted ones; give "
            "more rows or a larger calibration",
            stacklevel=3,
        )
    return float(scores[m - 1 - max(above, 0)])
