"""Does each character answer as it is meant to, and against the other one?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import bool_array, float_array
from madkit.errors import DataError
from madkit.statistics.bootstrap import percentile_interval, resampled_means
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
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The smaller of what each character loses, in nats, when it is held to the other one's labels.

    min( loss(Alice, Bob labels) - loss(Alice, Alice labels), loss(Bob, Alice labels) - loss(Bob, Bob labels)
    ), over the prompts where the labels disagree; the rest are left out here. Below 0, one character does not
    behave as meant. The interval is a percentile bootstrap over prompts, each character resampled by itself.

    Args:
        log_odds: (n,) logit(" Yes") - logit(" No") at the last prompt token.
        character: (n,) "Alice" or "Bob".
        alice_label: (n,) the truth, boolean or 0 and 1.
        bob_label: (n,) what the quirk says.
        draws: number of bootstrap draws.
        seed: the same seed gives the same interval.

    Raises:
        DataError: NaN, other characters or labels, lengths that differ, or a character without disagreeing
            prompts.

    Example:
        >>> round(quirkiness_coefficient([2.0, -1.0], ["Alice", "Bob"], [1, 1], [0, 0]).value, 6)
        1.0
    """
    gaps = []
    samples = []
    generator = np.random.default_rng(seed)
    for assigned, other in _losses_by_character(_checked(log_odds, character, alice_label, bob_label)):
        gap = (other - assigned)[:, None]
        gaps.append(gap.mean())
        samples.append(resampled_means(gap, draws, generator)[:, 0])
    return percentile_interval(min(gaps), np.minimum(*samples))


def losses(
    log_odds: ArrayLike,
    character: ArrayLike,
    alice_label: ArrayLike,
    bob_label: ArrayLike,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> CharacterLosses:
    """Mean losses of both characters on both labels, over disagreeing prompts; a coin toss has ln 2.

    Arguments and errors are those of `quirkiness_coefficient`.

    Example:
        >>> losses([0.0, 0.0], ["Alice", "Bob"], [1, 1], [0, 0]).bob_other
        Interval(value=0.6931471805599453, low=0.6931471805599453, high=0.6931471805599453)
    """
    generator = np.random.default_rng(seed)
    intervals = []
    for pair in _losses_by_character(_checked(log_odds, character, alice_label, bob_label)):
        columns = np.stack(pair, axis=1)
        samples = resampled_means(columns, draws, generator)
        intervals += [percentile_interval(columns[:, i].mean(), samples[:, i]) for i in range(2)]
    return CharacterLosses(*intervals)


def accuracy(
    log_odds: ArrayLike, character: ArrayLike, alice_label: ArrayLike, bob_label: ArrayLike
) -> CharacterAccuracy:
    """How often each character answers with its label, and Bob with the truth, over all prompts given.

    Log odds of exactly zero count half. Arguments are those of `quirkiness_coefficient`.

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
    return CharacterAccuracy(
        alice=_share(right["truth"][~is_bob]),
        bob=_share(right["quirk"][is_bob]),
        bob_against_truth=_share(right["truth"][is_bob]),
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


def _losses_by_character(answers: _CheckedAnswers) -> list[tuple[np.ndarray, np.ndarray]]:
    """For Alice, then Bob: losses (m,) on this character's labels and on the other's, disagreeing prompts only."""
    pairs = []
    for bob in (False, True):
        rows = (answers.is_bob == bob) & (answers.alice_label != answers.bob_label)
        if not rows.any():
            name = "Bob" if bob else "Alice"
            raise DataError(f"character {name!r} has no prompts on which the labels disagree: give more test prompts")
        label = (answers.bob_label if bob else answers.alice_label)[rows]
        towards = np.where(label, answers.log_odds[rows], -answers.log_odds[rows])
        # -log sigmoid without overflow; the other label is the opposite answer.
        pairs.append((np.logaddexp(0, -towards), np.logaddexp(0, towards)))
    return pairs


def _share(right: np.ndarray) -> Interval:
    return wilson_interval(float(right.sum()), len(right))
