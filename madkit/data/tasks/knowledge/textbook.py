"""A small grammar of texts about nature, each with a question whose answer it gives, in that word or in another.

A sentence says of one or two things which of two opposites holds. Some name it (`The lake is deep.`), some deny the
other (`The lake is not shallow.`), some leave it to be concluded (`Unlike the lake, the river is shallow.`). So the
right answer may be missing from the text, and the wrong one may be in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from madkit.data.tasks.drawing import pick


@dataclass(frozen=True)
class Field:
    """What the sentences of one text speak of.

    Attributes:
        things: Their subjects.
        opposites: Pairs of adjectives of which exactly one holds of each of them. No adjective is part of another.
    """

    things: tuple[str, ...]
    opposites: tuple[tuple[str, str], ...]


FIELDS: tuple[Field, ...] = (
    Field(
        ("acid", "metal", "salt", "liquid", "crystal", "powder", "alloy", "resin"),
        (("warm", "cool"), ("hard", "soft"), ("heavy", "light"), ("bright", "dark"), ("rough", "smooth")),
    ),
    Field(
        ("beetle", "frog", "lizard", "snail", "whale", "spider", "falcon", "bat"),
        (("rare", "common"), ("young", "old"), ("fast", "slow"), ("wild", "tame"), ("asleep", "awake")),
    ),
    Field(
        ("heart", "liver", "lung", "muscle", "nerve", "kidney", "stomach", "bone"),
        (("healthy", "sick"), ("strong", "weak"), ("thick", "thin"), ("large", "small"), ("young", "old")),
    ),
    Field(
        ("star", "planet", "moon", "comet", "galaxy", "asteroid", "nebula", "meteor"),
        (("near", "distant"), ("bright", "dark"), ("warm", "cool"), ("large", "small"), ("young", "old")),
    ),
    Field(
        ("lake", "river", "valley", "glacier", "canyon", "swamp", "desert", "crater"),
        (("deep", "shallow"), ("wide", "narrow"), ("wet", "dry"), ("steep", "flat"), ("warm", "cool")),
    ),
)
_MOST_SENTENCES = 3
# For one thing or two, with the adjective that is written; it is true (+) or false (-) of each of them.
_FORMS: tuple[tuple[str, str], ...] = (
    ("the {0} is {2}", "+"),
    ("the {0} is not {2}", "-"),
    ("both the {0} and the {1} are {2}", "++"),
    ("neither the {0} nor the {1} is {2}", "--"),
    ("unlike the {0}, the {1} is {2}", "-+"),
)


class Exercise(NamedTuple):
    """A text, a question about it, and the two answers that the question offers."""

    support: str
    question: str
    right: str
    wrong: str


def draw_exercise(rng: np.random.Generator) -> Exercise:
    """Draw a text of one to three sentences, no two of them about the same thing, and a question about one thing.

    Args:
        rng: The only source of chance.

    Example:
        >>> exercise = draw_exercise(np.random.default_rng(7))
        >>> exercise.support, exercise.question, exercise.right
        ('The lake is not narrow.', 'Is the lake narrow or wide?', 'wide')
    """
    field = pick(rng, FIELDS)
    things = iter(rng.permutation(np.array(field.things)).tolist())
    sentences, facts = [], []
    for _ in range(int(rng.integers(_MOST_SENTENCES)) + 1):
        form, signs = pick(rng, _FORMS)
        subjects = [next(things) for _ in signs]
        opposites = pick(rng, field.opposites)
        written = int(rng.integers(2))
        sentence = form.format(subjects[0], subjects[-1], opposites[written])
        sentences.append(sentence[0].upper() + sentence[1:] + ".")
        facts += [
            (subject, opposites, written if sign == "+" else 1 - written)
            for subject, sign in zip(subjects, signs, strict=True)
        ]
    subject, opposites, right = pick(rng, facts)
    first = int(rng.integers(2))
    question = f"Is the {subject} {opposites[first]} or {opposites[1 - first]}?"
    return Exercise(" ".join(sentences), question, opposites[right], opposites[1 - right])
