"""Scores as scikit-learn has outlier detectors: its own checks, its signs, and a threshold that holds on new rows."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from scipy.stats import binom
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from madkit.errors import ConfigError, DataError
from madkit.scores import KNearestNeighbours, LikelihoodRatio, Mahalanobis, SklearnEstimator
from madkit.sklearn import Detector

OBJECTS = {"check_dtype_object": "no number is a DataError, as everywhere, and that is a ValueError and no TypeError"}
HELD_OUT = "the share of outliers is that among new rows: the threshold is set by rows that were held out of the fit"


def rows(n, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@parametrize_with_checks(
    [Detector(), Detector(calibration=0)],
    expected_failed_checks=lambda detector: (
        OBJECTS
        | ({"check_outliers_train": HELD_OUT, "check_outliers_fit_predict": HELD_OUT} if detector.calibration else {})
    ),
)
@pytest.mark.filterwarnings("ignore:contamination=0.05 needs 19 rows", "ignore:.*SCIPY_ARRAY_API")
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_signs_are_those_of_scikit_learn():
    trusted, new = rows(200), np.concatenate([rows(20, seed=1), rows(20, seed=2) + 6])
    detector = Detector(KNearestNeighbours(), contamination=0.1).fit(trusted)
    assert detector.score_samples(new)[:20].min() > detector.score_samples(new)[20:].max()
    assert (detector.predict(new)[20:] == -1).all() and detector.predict(new)[:20].mean() > 0.5
    np.testing.assert_array_equal(detector.predict(new), np.where(detector.decision_function(new) < 0, -1, 1))


def test_an_estimator_that_became_a_score_comes_back_as_it_was():
    trusted, new = rows(100), rows(30, seed=1)
    keys = np.ascontiguousarray(trusted).view(f"V{trusted[0].nbytes}")[:, 0]  # scores see rows in an order of their own
    peer = IsolationForest(random_state=3, contamination=0.1).fit(trusted[np.argsort(keys)])
    score = SklearnEstimator("sklearn.ensemble.IsolationForest", seed=3)
    detector = Detector(score, contamination=0.1, calibration=0).fit(trusted)
    np.testing.assert_allclose(
        detector.decision_function(new), peer.decision_function(new) + peer.offset_ - detector.offset_, rtol=1e-9
    )
    np.testing.assert_allclose(detector.offset_, peer.offset_, rtol=1e-9)
    np.testing.assert_array_equal(detector.predict(trusted), peer.predict(trusted))


@pytest.mark.parametrize(("m", "share"), [(19, 0.05), (40, 0.1), (30, 0.02)])
@pytest.mark.filterwarnings("ignore:contamination=0.02 needs 49 rows that are held out and there are 30")
def test_new_rows_like_the_trusted_ones_are_outliers_as_often_as_promised(m, share):
    """Of exchangeable scores the expected share is floor(share (m + 1)) / (m + 1), or 1 / (m + 1) where that is 0."""
    expected = max(1, np.floor(share * (m + 1) + 1e-9)) / (m + 1)
    found = []
    for seed in range(60):
        detector = Detector(contamination=share, calibration=m / (m + 60), random_state=seed)
        found.append(np.mean(detector.fit(rows(m + 60, seed=seed)).predict(rows(400, seed=1000 + seed)) < 0))
    spread = np.std(found, ddof=1) / len(found) ** 0.5
    assert abs(np.mean(found) - expected) < 4 * spread


def test_a_threshold_by_fitted_rows_calls_new_rows_outliers():
    """What the default avoids: with as many features as half the rows, most new rows are further out."""
    wide = rows(100, 50)
    new = rows(400, 50, seed=1)
    by_the_fit, by_others = Detector(calibration=0).fit(wide), Detector(calibration=0.3).fit(wide)
    assert np.mean(by_the_fit.predict(new) < 0) > 0.5
    assert binom.sf(np.sum(by_others.predict(new) < 0), 400, 0.2) > 1e-3


def test_too_few_rows_for_the_promise_are_named():
    with pytest.warns(UserWarning, match="needs 99 rows that are held out and there are 30.*0.0323 of rows"):
        Detector(contamination=0.01).fit(rows(100))


def test_every_layout_gives_the_same_numbers():
    trusted = rows(80).astype(np.float16).astype(np.float64)
    detector = Detector(random_state=1)
    expected = detector.fit(trusted).score_samples(trusted)
    layouts = {
        "float16": trusted.astype(np.float16),
        "big endian": trusted.astype(">f8"),
        "negative strides": trusted[::-1, ::-1].copy()[::-1, ::-1],
        "sparse": scipy.sparse.coo_matrix(trusted),
        "frame": pd.DataFrame(trusted, columns=list("abcd")),
        "lists": trusted.tolist(),
        "masked, nothing hidden": np.ma.masked_array(trusted),
        "tensor": torch.tensor(trusted, dtype=torch.float32, requires_grad=True),
    }
    for name, given in layouts.items():
        np.testing.assert_allclose(clone(detector).fit(given).score_samples(given), expected, rtol=1e-5, err_msg=name)
    bfloat16 = torch.tensor(trusted).bfloat16()
    assert Detector().fit(bfloat16).predict(bfloat16).shape == (80,)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (pd.DataFrame({"a": ["x", "y", "z"], "b": [1, 2, 3]}), "could not convert string to float"),
        (np.array([[1.0, np.nan]] * 4), "contains NaN"),
        (scipy.sparse.csr_matrix(np.array([[1.0, np.inf]] * 4)), "contains infinity"),
        (np.ma.masked_greater(np.ones((4, 2)), 0), "8 masked values"),
        (torch.ones(4, 2, dtype=torch.complex64), "complex numbers"),
        (rows(1), "minimum of 3 is required"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused_in_a_line(given, said):
    with pytest.raises(DataError, match=said) as caught:
        Detector().fit(given)
    assert "\n" not in str(caught.value)


def test_options_are_out_of_range():
    for options in ({"contamination": 0}, {"contamination": 0.6}, {"calibration": 1}, {"anomaly_score": "mahalanobis"}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}="):
            Detector(**options).fit(rows(20))
    with pytest.raises(ConfigError, match="anomaly_score__k: mahalanobis has rcond, relative"):
        Detector().set_params(anomaly_score__k=3)


def test_options_of_the_score_are_searched():
    trusted, labels = np.concatenate([rows(60), rows(30, seed=1) + 4]), np.array([1] * 60 + [-1] * 30)
    pipeline = make_pipeline(StandardScaler(), Detector(KNearestNeighbours(k=5)))
    fold = PredefinedSplit([-1] * 45 + [0] * 45)
    grid = {"detector__anomaly_score__k": [1, 3], "detector__contamination": [0.2]}
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=fold).fit(trusted, labels)
    best = search.best_estimator_[-1]
    assert best.score_.k == best.anomaly_score.k == search.best_params_["detector__anomaly_score__k"]
    assert search.best_score_ > 0.95


def test_clone_and_pickle_keep_the_options_and_the_fit():
    given = Mahalanobis(relative=True)
    detector = Detector(given).fit(rows(80))
    copied = clone(detector)
    assert not given.fitted and not hasattr(copied, "score_") and copied.anomaly_score.relative
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.decision_function(rows(9)), detector.decision_function(rows(9)))
    refitted = clone(detector).set_params(anomaly_score=detector.score_).fit(rows(80))
    np.testing.assert_array_equal(refitted.score_samples(rows(9)), detector.score_samples(rows(9)))


def test_an_offline_score_is_given_its_untrusted_rows():
    trusted, untrusted = rows(80), np.concatenate([rows(40, seed=1), rows(40, seed=2) + 4])
    detector = Detector(LikelihoodRatio()).fit(trusted, untrusted=untrusted)
    assert detector.score_samples(untrusted)[:40].mean() > detector.score_samples(untrusted)[40:].mean()
    with pytest.raises(DataError, match="has seen no untrusted rows"):
        Detector(LikelihoodRatio()).fit(trusted)
