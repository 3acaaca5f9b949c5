"""The words for meanings: sentences about animals, people, things and times of day."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np

from madkit.data.tasks.logic import NONE, Meaning, follows, meanings

_T = TypeVar("_T")

#: Sets that lie in each other, the widest last.
CHAINS: tuple[tuple[str, str, str], ...] = (
    ("poodles", "dogs", "animals"),
    ("kittens", "cats", "animals"),
    ("ponies", "horses", "animals"),
    ("sparrows", "birds", "animals"),
    ("girls", "children", "people"),
    ("nurses", "workers", "people"),
    ("sisters", "women", "people"),
    ("novels", "books", "things"),
    ("mugs", "cups", "things"),
    ("sedans", "cars", "things"),
)
#: Places of which something is said at times, and the times, which lie in each other too.
PLACES = ("garden", "kitchen", "street", "harbour")
TIMES = (" on winter nights", " at night", "")
#: Adjectives of which exactly one holds; of things, those of the first three pairs stand before a noun as well.
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "animals": (("wet", "dry"), ("young", "old"), ("thin", "fat"), ("asleep", "awake"), ("indoors", "outdoors")),
    "people": (("wet", "dry"), ("young", "old"), ("famous", "unknown"), ("asleep", "awake"), ("indoors", "outdoors")),
    "things": (("wet", "dry"), ("clean", "dirty"), ("cheap", "expensive"), ("broken", "intact"), ("lost", "present")),
    "places": (("wet", "dry"), ("clean", "dirty"), ("noisy", "quiet"), ("empty", "occupied"), ("dark", "bright")),
}
_BEFORE_NOUNS = 3

# In the order ALL, SOME, NONE, NOT_ALL.
_NOUNS = ("All {} are {}", "Some {} are {}", "No {} are {}", "Not all {} are {}")
_PRONOUNS = {
    "people": ("Everybody is {}", "Somebody is {}", "Nobody is {}", "Not everybody is {}"),
    "things": ("Everything is {}", "Something is {}", "Nothing is {}", "Not everything is {}"),
}
_AT_TIMES = ("The {} is always {}{}", "The {} is sometimes {}{}", "The {} is never {}{}", "The {} is not always {}{}")


def draw_pair(rng: np.random.Generator, restricted: float = 0.4, opposite: float = 0.25) -> tuple[str, str, bool]:
    """Draw a premise, a hypothesis, and whether it follows from the premise (or contradicts it).

    Args:
        rng: The only source of chance.
        restricted: How often the sets spoken of may be restricted by an adjective, as in `wet dogs`.
        opposite: How often the hypothesis says `dry` where the premise says `wet`.

    Example:
        >>> premise, hypothesis, entailed = draw_pair(np.random.default_rng(0))
        >>> premise[-1], hypothesis[-1], type(entailed)
        ('.', '.', <class 'bool'>)
    """
    topic = int(rng.integers(len(CHAINS) + len(PLACES)))
    spoken: tuple[str, ...] = CHAINS[topic] if topic < len(CHAINS) else (PLACES[topic - len(CHAINS)],)
    kind = spoken[-1] if topic < len(CHAINS) else "places"
    said, before = PAIRS[kind][rng.integers(len(PAIRS[kind]))], PAIRS[kind][rng.integers(_BEFORE_NOUNS)]
    entailed = bool(rng.random() < 0.5)
    # "All wet dogs are wet" would say nothing.
    may_restrict = rng.random() < restricted and kind != "places" and said != before
    premise, hypothesis = _one(rng, _decided(may_restrict, rng.random() < opposite)[entailed])
    first, second = (_sentence(rng, meaning, spoken, kind, said, before) for meaning in (premise, hypothesis))
    return first, second, entailed


@cache
def _decided(restricted: bool, opposite: bool) -> dict[bool, list[tuple[Meaning, Meaning]]]:
    """The pairs of different meanings of which the second follows from the first, and those that contradict."""
    known = list(meanings(restricted))
    pairs = [(p, h) for p in known for h in known if p != h and (p.predicate != h.predicate) is opposite]
    return {label: [pair for pair in pairs if follows(*pair) is label] for label in (False, True)}


def _sentence(
    rng: np.random.Generator,
    meaning: Meaning,
    spoken: Sequence[str],
    kind: str,
    said: tuple[str, str],
    before: tuple[str, str],
) -> str:
    adjective = said[not meaning.predicate]
    if kind == "places":
        return _AT_TIMES[meaning.quantifier].format(spoken[0], adjective, TIMES[meaning.level]) + "."
    if meaning.restriction is None and kind in _PRONOUNS and meaning.level == len(spoken) - 1:
        return _PRONOUNS[kind][meaning.quantifier].format(adjective) + "."
    restriction = "" if meaning.restriction is None else f"{before[not meaning.restriction]} "
    form = _NOUNS[meaning.quantifier]
    if meaning.quantifier == NONE and rng.random() < 0.5:
        form = "None of the {} are {}"
    return form.format(restriction + spoken[meaning.level], adjective) + "."


def _one(rng: np.random.Generator, choices: Sequence[_T]) -> _T:
    return choices[int(rng.integers(len(choices)))]
