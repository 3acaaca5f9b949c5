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
        level: Which set is spoken of, in a chain of sets: 0 lies in 1, which lies in 2.
        restriction: None, or whether the first adjective of the second pair (True) or its opposite (False)
            restricts that set.
        predicate: Whether the first adjective of the first pair (True) or its opposite is said of it.
    """

    quantifier: int
    level: int
    restriction: bool | None
    predicate: bool


LEVELS = 3
# A kind of thing: the narrowest set of the chain that it is in, and which of either pair holds of it.
_KINDS = list(product(range(LEVELS), (False, True), (False, True)))
# A world is a set of kinds that occur in it; how many things there are of a kind does not matter here.
_WORLDS = np.arange(1, 1 << len(_KINDS), dtype=np.uint16)


def holds(meaning: Meaning) -> np.ndarray:
    """In which of all possible worlds a sentence holds, `(2**12 - 1,)` bool."""
    spoken, said = _spoken_of(meaning), _bits([kind[1] == meaning.predicate for kind in _KINDS])
    inside, outside = _WORLDS & (spoken & said) != 0, _WORLDS & (spoken & ~said) != 0
    return {ALL: ~outside, SOME: inside, NONE: ~inside, NOT_ALL: outside}[meaning.quantifier]


@cache
def follows(premise: Meaning, hypothesis: Meaning) -> bool | None:
    """Whether the hypothesis follows from the premise (True), contradicts it (False), or neither (None).

    It follows if it holds in all worlds in which the premise does, and contradicts it if in none. As in
    everyday speech, what is spoken of exists: worlds without any of it do not count.

    Example:
        >>> all_dogs, some_animals = Meaning(ALL, 1, None, True), Meaning(SOME, 2, None, True)
        >>> follows(all_dogs, some_animals), follows(some_animals, all_dogs)
        (True, None)
    """
    exists = np.ones(len(_WORLDS), dtype=bool)
    for meaning in (premise, hypothesis):
        exists &= _WORLDS & _spoken_of(meaning) != 0
    found = holds(hypothesis)[holds(premise) & exists]
    return True if found.all() else False if not found.any() else None


def meanings(restricted: bool = True) -> Iterator[Meaning]:
    """All meanings, or those without a restriction."""
    kinds = (None, False, True) if restricted else (None,)
    for quantifier, level, restriction, predicate in product(range(4), range(LEVELS), kinds, (False, True)):
        yield Meaning(quantifier, level, restriction, predicate)


def _spoken_of(meaning: Meaning) -> np.uint16:
    return _bits([kind[0] <= meaning.level and meaning.restriction in (None, kind[2]) for kind in _KINDS])


def _bits(chosen: list[bool]) -> np.uint16:
    """A set of kinds as a number, as worlds are."""
    return np.uint16(sum(1 << place for place, taken in enumerate(chosen) if taken))
