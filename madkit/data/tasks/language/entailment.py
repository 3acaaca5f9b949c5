"""Sentences with quantifiers, what they mean, and what follows from what.

A sentence says that all, some, none or not all of one set are in another. Sets are named by nouns that lie in
each other (poodles, dogs, animals), restricted by an adjective (wet dogs), and by adjectives that come in
pairs of which exactly one holds of anything (wet or dry).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

ALL, SOME, NONE, NOT_ALL = range(4)


@dataclass(frozen=True)
class Meaning:
    """What a sentence says, apart from the words.

    Attributes:
        quantifier: ALL, SOME, NONE or NOT_ALL.
        level: Which set the sentence is about, in a chain of sets: 0 lies in 1, which lies in 2.
        restriction: None, or whether the first adjective of the second pair (True) or its opposite (False)
            restricts that set.
        predicate: Whether the first adjective of the first pair (True) or its opposite is the predicate.
    """

    quantifier: int
    level: int
    restriction: bool | None
    predicate: bool


LEVELS = 3
# A type of thing: the narrowest set of the chain that it is in, and which of either pair holds of it.
_TYPES = list(product(range(LEVELS), (False, True), (False, True)))
# A world is a set of types that occur in it; how many things there are of a type does not matter here.
_WORLDS = np.arange(1, 1 << len(_TYPES), dtype=np.uint16)


def holds(meaning: Meaning) -> np.ndarray:
    """In which of all possible worlds a sentence holds, (2**12 - 1,) bool."""
    subject, predicate = _subject(meaning), _bits([thing[1] == meaning.predicate for thing in _TYPES])
    inside, outside = _WORLDS & (subject & predicate) != 0, _WORLDS & (subject & ~predicate) != 0
    return {ALL: ~outside, SOME: inside, NONE: ~inside, NOT_ALL: outside}[meaning.quantifier]


@cache
def follows(premise: Meaning, hypothesis: Meaning) -> bool | None:
    """Whether the hypothesis follows from the premise (True), contradicts it (False), or neither (None).

    It follows if it holds in all worlds in which the premise does, and contradicts it if in none. As in
    everyday speech, the subject exists: worlds without any of it do not count.

    Example:
        >>> all_dogs, some_animals = Meaning(ALL, 1, None, True), Meaning(SOME, 2, None, True)
        >>> follows(all_dogs, some_animals), follows(some_animals, all_dogs)
        (True, None)
    """
    exists = np.ones(len(_WORLDS), dtype=bool)
    for meaning in (premise, hypothesis):
        exists &= _WORLDS & _subject(meaning) != 0
    holds_there = holds(hypothesis)[holds(premise) & exists]
    return True if holds_there.all() else False if not holds_there.any() else None


def meanings(restricted: bool = True) -> Iterator[Meaning]:
    """All meanings, or those without a restriction."""
    restrictions = (None, False, True) if restricted else (None,)
    for quantifier, level, restriction, predicate in product(range(4), range(LEVELS), restrictions, (False, True)):
        yield Meaning(quantifier, level, restriction, predicate)


def _subject(meaning: Meaning) -> np.uint16:
    """The set that a sentence is about."""
    return _bits([thing[0] <= meaning.level and meaning.restriction in (None, thing[2]) for thing in _TYPES])


def _bits(chosen: list[bool]) -> np.uint16:
    """A set of types as a number, as worlds are."""
    return np.uint16(sum(1 << bit for bit, taken in enumerate(chosen) if taken))
