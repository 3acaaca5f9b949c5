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
    statements: NDArray[np.int64] | None = None,
    folds: int = 3,
    strength: float = 0.1,
) -> NDArray[np.float64]:
    """Log odds of being anomalous, of a logistic regression on the labels, out of fold.

    Each prompt is scored by a probe that was fitted on prompts of other groups. With the speaker's name as the
    group, a probe cannot pass by remembering names: it has to learn what the anomalous ones have in common.
    A fold leaves out the same share of the normal and of the anomalous groups, in their order. Single groups
    must not be left out one at a time: where each normal group has an anomalous counterpart that looks the same,
    the probe would meet only the counterpart, and every answer would be wrong. For the same reason prompts of one
    statement, which a normal and an anomalous speaker may both have made, are never on both sides either: each pair of
    a fold of groups and a fold of statements is scored by a probe of the prompts that are in neither.

    Features are standardised on the prompts that fit; the penalty is |w|^2 / (2 strength).

    Args:
        x: (n, d) vectors.
        anomalous: (n,) the labels.
        groups: (n,) prompts of one group are never in the fitting and the scored part at once.
        statements: (n,) the same of prompts of one statement; None where groups are all that prompts share.
        folds: number of parts of the groups, and of the statements; three leave out four of the study's twelve names of
            each kind.
        strength: of the fit against the penalty, scikit-learn's C.

    Returns:
        (n,) log odds, higher = more anomalous.

    Raises:
        DataError: fewer than two groups of a kind, or too few statements.
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
    turn = np.zeros(len(x), dtype=np.int64)  # the fold of each prompt's statement
    if statements is not None:
        turn = np.unique(statements, return_inverse=True)[1] % folds
    log_odds = np.full(len(x), np.nan)
    for parts in zip(*(np.array_split(kind, folds) for kind in kinds), strict=True):
        names_out = np.isin(groups, np.concatenate(parts))
        for one in np.unique(turn[names_out]):
            left_out, kept = names_out & (turn == one), ~names_out
            if statements is not None:
                kept &= turn != one
                if len(np.unique(anomalous[kept])) < 2:
                    raise DataError(
                        f"the ceiling has {len(np.unique(statements))} statements, too few to fit on some and score "
                        "the others: give more test prompts, or set model.ceiling to false"
                    )
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
            with warnings.catch_warnings():
                # A few steps short of the optimum makes no difference to a ceiling.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(x[kept], anomalous[kept])
            log_odds[left_out] = model.decision_function(x[left_out])
    return log_odds
