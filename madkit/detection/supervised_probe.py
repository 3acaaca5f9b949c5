"""The ceiling: how well a linear probe does that is told which prompts are anomalous."""

import warnings

import numpy as np
from numpy.typing import NDArray

from madkit.errors import DataError

#: How results name it. It is no detector: it sees the labels.
PROBE, SETTING = "logistic_probe", "ceiling"


def probe(
    x: NDArray[np.float64],
    anomalous: NDArray[np.bool_],
    groups: NDArray[np.int64],
    folds: int = 3,
    strength: float = 0.1,
) -> NDArray[np.float64]:
    """Log odds of being anomalous, of a logistic regression on the labels, out of fold.

    Each prompt is scored by a probe that was fitted on prompts of other groups. With the speaker's name as the
    group, a probe cannot pass by remembering names: it has to learn what the anomalous ones have in common.
    A fold leaves out the same share of the normal and of the anomalous groups, in their order. Single groups
    must not be left out one at a time: where each normal group has an anomalous counterpart that looks the same,
    the probe would meet only the counterpart, and every answer would be wrong.

    Features are standardised on the prompts that fit; the penalty is |w|^2 / (2 strength).

    Args:
        x: (n, d) vectors.
        anomalous: (n,) the labels.
        groups: (n,) prompts of one group are never in the fitting and the scored part at once.
        folds: number of parts; three leave out four of the study's twelve names of each kind.
        strength: of the fit against the penalty, scikit-learn's C.

    Returns:
        (n,) log odds, higher = more anomalous.

    Raises:
        DataError: fewer than two groups of a kind.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = [np.unique(groups[anomalous == kind]) for kind in (False, True)]
    folds = min(folds, *map(len, kinds))
    if folds < 2:
        raise DataError(
            f"the ceiling needs two names or more of each kind, there are {len(kinds[0])} normal and {len(kinds[1])} "
            "anomalous: give more names, or set model.ceiling to false"
        )
    log_odds = np.full(len(x), np.nan)
    for parts in zip(*(np.array_split(kind, folds) for kind in kinds), strict=True):
        left_out = np.isin(groups, np.concatenate(parts))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
        with warnings.catch_warnings():
            # A few steps short of the optimum makes no difference to a ceiling.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x[~left_out], anomalous[~left_out])
        log_odds[left_out] = model.decision_function(x[left_out])
    return log_odds
