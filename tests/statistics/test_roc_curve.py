"""The ROC curve against scikit-learn, its band against simulation."""

import numpy as np
import pytest
import scipy.stats
from scipy.integrate import trapezoid
from sklearn.metrics import roc_auc_score, roc_curve

from madkit.statistics import (
    auroc,
    roc,
    roc_band,
)


def sample(n=60, shift=1.0, seed=0, digits=None):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 1
    scores = rng.normal(size=n) + shift * labels
    return (scores if digits is None else scores.round(digits)), labels


@pytest.mark.parametrize("digits", [None, 0])
def test_roc_is_sklearns_and_its_area_is_auroc(digits):
    scores, labels = sample(digits=digits)
    curve = roc(scores, labels)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.interp(fpr, curve.fpr, curve.tpr)[1:-1], np.interp(fpr, fpr, tpr)[1:-1], atol=1e-12)
    assert len(curve.fpr) <= len(fpr)
    area = trapezoid(curve.tpr, curve.fpr)
    assert area == pytest.approx(roc_auc_score(labels, scores)) == pytest.approx(auroc(scores, labels).value)


def test_the_band_holds_the_whole_true_curve():
    grid = np.linspace(0.001, 0.999, 300)
    truth = scipy.stats.norm.sf(scipy.stats.norm.isf(grid) - 1)
    inside = 0
    for seed in range(300):
        scores, labels = sample(100, seed=seed)
        low, high = roc_band(roc(scores, labels), 50, 50)
        floor = np.interp(grid, low.fpr, low.tpr, left=0)
        ceiling = np.interp(grid, high.fpr, high.tpr, right=1)
        inside += bool((floor <= truth).all() and (truth <= ceiling).all())
    assert inside / 300 > 0.95 - 0.03
