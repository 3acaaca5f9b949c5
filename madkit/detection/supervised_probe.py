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
    A fold leaves out the same share of the normal and of the anomalous groups, in their order; a group of both kinds,
    such as a statement that two speakers make, is in one fold like any other. Single groups must not be left out one
    at a time: where each normal group has an anomalous counterpart that looks the same,
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
        DataError: fewer than two groups of a kind, or too few statements to fit on both kinds and score the others.
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
            "anomalous: give more names (or statements, if nobody is named), or set model.ceiling to false"
        )
    fold = _fold_of_groups(kinds[0], kinds[1], folds)[np.unique(groups, return_inverse=True)[1]]
    turn = np.zeros(len(x), dtype=np.int64)  # the fold of each prompt's statement
    if statements is not None:
        turn = np.unique(statements, return_inverse=True)[1] % folds
    log_odds = np.full(len(x), np.nan)
    for group_turn in range(folds):
        names_out = fold == group_turn
        for one in np.unique(turn[names_out]):
            left_out, kept = names_out & (turn == one), ~names_out
            if statements is not None:
                kept &= turn != one
            if len(np.unique(anomalous[kept])) < 2:
                n = len(np.unique(groups if statements is None else statements))
                raise DataError(
                    f"the ceiling has {n} statements, too few to fit on some and score the others: give more test "
                    "prompts, or set model.ceiling to false"
                )
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
            with warnings.catch_warnings():
                # A few steps short of the optimum makes no difference to a ceiling.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(x[kept], anomalous[kept])
            log_odds[left_out] = model.decision_function(x[left_out])
    return log_odds


def _fold_of_groups(normal: NDArray[np.int64], other: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold of each group of the union, in order, so that each fold leaves out its share of both kinds.

    Groups of both kinds are dealt first, and those of one kind fill up its share.

    Args:
        normal: (k,) the groups that have normal prompts, ascending.
        other: (l,) those that have anomalous ones, ascending.
        folds: at most k and l, so that no fold has all groups of a kind.
    """
    union, both = np.union1d(normal, other), np.intersect1d(normal, other)
    fold = np.zeros(len(union), dtype=np.int64)
    shared = [len(part) for part in np.array_split(both, folds)]
    fold[np.isin(union, both)] = np.repeat(np.arange(folds), shared)
    for kind in (normal, other):
        wanted = [len(part) for part in np.array_split(kind, folds)]
        alone = np.isin(union, np.setdiff1d(kind, both))
        fold[alone] = np.repeat(np.arange(folds), np.subtract(wanted, shared))
    return fold
