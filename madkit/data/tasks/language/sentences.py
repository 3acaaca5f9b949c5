"""Sentences about animals, people, things and times of day, written from their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from madkit.data.tasks.drawing import pick
from madkit.data.tasks.language.entailment import NONE, Meaning, follows, meanings

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
#: Subjects of sentences about times, and the times, which lie in each other too.
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
        restricted: How often the subjects may be restricted by an adjective, as in `wet dogs`.
        opposite: How often the hypothesis says `dry` where the premise says `wet`.

    Example:
        >>> premise, hypothesis, entailed = draw_pair(np.random.default_rng(0))
        >>> premise[-1], hypothesis[-1], type(entailed)
        ('.', '.', <class 'bool'>)
    """
    topic = int(rng.integers(len(CHAINS) + len(PLACES)))
    subjects: tuple[str, ...] = CHAINS[topic] if topic < len(CHAINS) else (PLACES[topic - len(CHAINS)],)
    field = subjects[-1] if topic < len(CHAINS) else "places"
    predicates, restrictions = PAIRS[field][rng.integers(len(PAIRS[field]))], PAIRS[field][rng.integers(_BEFORE_NOUNS)]
    entailed = bool(rng.random() < 0.5)
    # "All wet dogs are wet" would say nothing.
    may_restrict = rng.random() < restricted and field != "places" and predicates != restrictions
    pair = pick(rng, _decided_pairs(may_restrict, rng.random() < opposite)[entailed])
    premise, hypothesis = (_sentence(rng, meaning, subjects, field, predicates, restrictions) for meaning in pair)
    return premise, hypothesis, entailed


@cache
def _decided_pairs(restricted: bool, opposite: bool) -> dict[bool, list[tuple[Meaning, Meaning]]]:
    """The pairs of different meanings of which the second follows from the first, and those that contradict."""
    every = list(meanings(restricted))
    pairs = [(p, h) for p in every for h in every if p != h and (p.predicate != h.predicate) is opposite]
    return {label: [pair for pair in pairs if follows(*pair) is label] for label in (False, True)}


def _sentence(
    rng: np.random.Generator,
    meaning: Meaning,
    subjects: Sequence[str],
    field: str,
    predicates: tuple[str, str],
    restrictions: tuple[str, str],
) -> str:
    adjective = predicates[not meaning.predicate]
    if field == "places":
        return _AT_TIMES[meaning.quantifier].format(subjects[0], adjective, TIMES[meaning.level]) + "."
    if meaning.restriction is None and field in _PRONOUNS and meaning.level == len(subjects) - 1:
        return _PRONOUNS[field][meaning.quantifier].format(adjective) + "."
    restriction = "" if meaning.restriction is None else f"{restrictions[not meaning.restriction]} "
    form = _NOUNS[meaning.quantifier]
    if meaning.quantifier == NONE and rng.random() < 0.5:
        form = "None of the {} are {}"
    return form.format(restriction + subjects[meaning.level], adjective) + "."
