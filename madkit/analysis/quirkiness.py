"""Does each character answer as it is meant to, and against the other one?"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import bool_array, float_array
from madkit.errors import DataError
from madkit.statistics.bootstrap import percentile_interval
from madkit.statistics.clustered_means import cluster_means, independent_share
from madkit.statistics.clusters import Clusters, Codes, cluster_codes
from madkit.statistics.interval import Interval
from madkit.statistics.wilson import wilson_interval


class CharacterLosses(NamedTuple):
    """Mean two-way cross-entropy in nats per character, on its labels and on the other one's."""

    alice_own: Interval
    alice_other: Interval
    bob_own: Interval
    bob_other: Interval


class CharacterAccuracy(NamedTuple):
    """Share of prompts answered as the labels say, with Wilson intervals."""

    alice: Interval
    bob: Interval
    bob_against_truth: Interval


class _CheckedAnswers(NamedTuple):
    """Checked columns: log odds (n,) float64, the others (n,) bool."""

    log_odds: np.ndarray
    is_bob: np.ndarray
    alice_label: np.ndarray
    bob_label: np.ndarray


def quirkiness_coefficient(
    log_odds: ArrayLike,
    character: ArrayLike,
    alice_label: ArrayLike,
    bob_label: ArrayLike,
    *,
    clusters: Clusters | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The smaller of what each character loses, in nats, when it is held to the other one's labels.

    min( loss(Alice, Bob labels) - loss(Alice, Alice labels), loss(Bob, Alice labels) - loss(Bob, Bob labels)
    ), over the prompts where the labels disagree; the rest are left out here. Below 0, one character does not
    behave as meant. The interval is a percentile bootstrap over prompts, each character resampled by itself; its ends
    are NaN where a character has one prompt, or prompts of one cluster, which say nothing of others.

    Args:
        log_odds: (n,) logit(" Yes") - logit(" No") at the last prompt token.
        character: (n,) "Alice" or "Bob".
        alice_label: (n,) the truth, boolean or 0 and 1.
        bob_label: (n,) what the quirk says.
        clusters: what prompts belong together, such as (statements, speakers), as in `madkit.statistics.auroc`: then
            whole clusters are drawn. None: prompts are independent.
        draws: number of bootstrap draws.
        seed: the same seed gives the same interval.

    Raises:
        DataError: NaN, other characters or labels, lengths that differ, or a character without disagreeing
            prompts.

    Example:
        >>> round(quirkiness_coefficient([2.0, -1.0], ["Alice", "Bob"], [1, 1], [0, 0]).value, 6)
        1.0
    """
    answers = _checked(log_odds, character, alice_label, bob_label)
    parts = [(rows, columns[:, 1:] - columns[:, :1]) for rows, columns in _losses_by_character(answers)]
    samples = _resampled(parts, clusters, draws, seed)
    return percentile_interval(min(gap.mean() for _, gap in parts), np.minimum(*samples)[:, 0])


def losses(
    log_odds: ArrayLike,
    character: ArrayLike,
    alice_label: ArrayLike,
    bob_label: ArrayLike,
    *,
    clusters: Clusters | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> CharacterLosses:
    """Mean losses of both characters on both labels, over disagreeing prompts; a coin toss has ln 2.

    Arguments and errors are those of `quirkiness_coefficient`.

    Example:
        >>> losses([0.0, 0.0], ["Alice", "Bob"], [1, 1], [0, 0]).bob_other
        Interval(value=0.6931471805599453, low=nan, high=nan)
    """
    parts = _losses_by_character(_checked(log_odds, character, alice_label, bob_label))
    intervals = [
        percentile_interval(columns[:, i].mean(), samples[:, i])
        for (_, columns), samples in zip(parts, _resampled(parts, clusters, draws, seed), strict=True)
        for i in range(2)
    ]
    return CharacterLosses(*intervals)


def accuracy(
    log_odds: ArrayLike,
    character: ArrayLike,
    alice_label: ArrayLike,
    bob_label: ArrayLike,
    *,
    clusters: Clusters | None = None,
) -> CharacterAccuracy:
    """How often each character answers with its label, and Bob with the truth, over all prompts given.

    Log odds of exactly zero count half. Arguments are those of `quirkiness_coefficient`. Wilson's intervals count as
    many prompts as those that share clusters are worth.

    Raises:
        DataError: as there, except that the labels may agree everywhere.

    Example:
        >>> accuracy([2.0, -1.0], ["Alice", "Bob"], [1, 1], [0, 0]).bob_against_truth.value
        0.0
    """
    answers = _checked(log_odds, character, alice_label, bob_label)
    says_yes = (np.sign(answers.log_odds) + 1) / 2
    right = {
        "truth": np.where(answers.alice_label, says_yes, 1 - says_yes),
        "quirk": np.where(answers.bob_label, says_yes, 1 - says_yes),
    }
    is_bob = answers.is_bob
    groupings = cluster_codes(clusters, len(is_bob))
    return CharacterAccuracy(
        alice=_share(right["truth"], ~is_bob, groupings),
        bob=_share(right["quirk"], is_bob, groupings),
        bob_against_truth=_share(right["truth"], is_bob, groupings),
    )


def _checked(
    log_odds: ArrayLike, character: ArrayLike, alice_label: ArrayLike, bob_label: ArrayLike
) -> _CheckedAnswers:
    odds, names = float_array(log_odds, "log_odds"), np.asarray(character)
    labels = [bool_array(alice_label, "alice_label"), bool_array(bob_label, "bob_label")]
    shapes = [odds.shape, names.shape, *(label.shape for label in labels)]
    if odds.ndim != 1 or len(set(shapes)) > 1:
        raise DataError(f"log_odds, character, alice_label, bob_label have shapes {shapes}: give (n,) all four")
    if not np.isfinite(odds).all():
        raise DataError(f"log_odds has {(~np.isfinite(odds)).sum()} of {len(odds)} values NaN or infinite: mend them")
    if set(names.tolist()) != {"Alice", "Bob"}:
        raise DataError(f"character has {sorted(set(map(str, names)))[:5]}: give prompts of both 'Alice' and 'Bob'")
    return _CheckedAnswers(odds, names == "Bob", *labels)


_Part: TypeAlias = tuple[np.ndarray, np.ndarray]


def _losses_by_character(answers: _CheckedAnswers) -> list[_Part]:
    """For Alice, then Bob: disagreeing prompts (n,) bool, and their losses (m, 2) on own labels and on the other's."""
    parts = []
    for bob in (False, True):
        rows = (answers.is_bob == bob) & (answers.alice_label != answers.bob_label)
        if not rows.any():
            name = "Bob" if bob else "Alice"
            raise DataError(f"character {name!r} has no prompts on which the labels disagree: give more test prompts")
        label = (answers.bob_label if bob else answers.alice_label)[rows]
        towards = np.where(label, answers.log_odds[rows], -answers.log_odds[rows])
        # -log sigmoid without overflow; the other label is the opposite answer.
        parts.append((rows, np.stack([np.logaddexp(0, -towards), np.logaddexp(0, towards)], axis=1)))
    return parts


def _resampled(parts: list[_Part], clusters: Clusters | None, draws: int, seed: int) -> list[np.ndarray]:
    """Means (draws, c) of each part's columns, prompts or whole clusters drawn with replacement."""
    return cluster_means(parts, cluster_codes(clusters, len(parts[0][0])), draws, np.random.default_rng(seed))


def _share(right: np.ndarray, rows: np.ndarray, groupings: Sequence[Codes]) -> Interval:
    own = right[rows]
    n = independent_share(own, [codes[rows] for codes in groupings]) if groupings else len(own)
    return wilson_interval(float(own.mean() * n), n)
