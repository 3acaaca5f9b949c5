"""A small grammar of reviews: what is praised or blamed, in how many ways that can be said, and what it means.

A clause judges one aspect, with a positive word or by negating a negative one (and the other way round). A
sentence has one clause that counts, its main one, and perhaps a second: one that agrees, one that judges
nothing, or one that is conceded (before `but`, after `although`). A review means what its main clause means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from madkit.data.tasks.drawing import pick

#: What is reviewed: its aspects, and the words for it that other domains do not use.
DOMAINS: dict[str, dict[str, tuple[str, ...]]] = {
    "restaurant": {
        "aspects": ("food", "soup", "service", "waiter", "dessert", "wine"),
        "positive": ("delicious", "tasty", "fresh"),
        "negative": ("bland", "stale", "greasy"),
        "neutral": ("Italian", "vegetarian"),
    },
    "film": {
        "aspects": ("film", "plot", "acting", "ending", "music", "hero"),
        "positive": ("gripping", "touching", "brilliant"),
        "negative": ("boring", "predictable", "tedious"),
        "neutral": ("French", "silent"),
    },
    "phone": {
        "aspects": ("phone", "screen", "battery", "camera", "keyboard", "speaker"),
        "positive": ("reliable", "elegant", "bright"),
        "negative": ("faulty", "clumsy", "defective"),
        "neutral": ("black", "rectangular"),
    },
    "hotel": {
        "aspects": ("hotel", "room", "bed", "view", "pool", "staff"),
        "positive": ("comfortable", "charming", "clean"),
        "negative": ("dirty", "shabby", "noisy"),
        "neutral": ("modern", "wooden"),
    },
}
POSITIVE = ("good", "great", "excellent", "wonderful", "superb", "lovely", "amazing", "perfect")
NEGATIVE = ("bad", "awful", "terrible", "horrible", "poor", "dreadful", "disappointing", "weak")
NEUTRAL = ("new", "ordinary", "typical", "familiar")
INTENSIFIERS = ("very", "really", "truly", "extremely")
NEGATIONS = ("not", "never", "hardly")
POSITIVE_VERBS = (("enjoyed", "enjoy"), ("loved", "love"), ("liked", "like"))
NEGATIVE_VERBS = (("hated", "hate"), ("disliked", "dislike"), ("regretted", "regret"))


@dataclass(frozen=True)
class Clause:
    """One clause, and what it says: 1 praises, -1 blames, 0 neither."""

    text: str
    polarity: int


def clause(rng: np.random.Generator, domain: str, aspect: str, polarity: int) -> Clause:
    """Draw a clause about one aspect that means a polarity, with or without negation.

    Example:
        >>> clause(np.random.default_rng(0), "hotel", "pool", 0).polarity
        0
    """
    words = DOMAINS[domain]
    if polarity == 0:
        return Clause(f"the {aspect} was {pick(rng, NEUTRAL + words['neutral'])}", 0)
    negated = rng.random() < 0.5
    word_polarity = -polarity if negated else polarity
    if rng.random() < 0.25:
        past, plain = pick(rng, POSITIVE_VERBS if word_polarity > 0 else NEGATIVE_VERBS)
        intensifier = f"{pick(rng, ('really', 'truly'))} " if _fair_coin(rng) else ""
        verb = f"did not {plain}" if negated else intensifier + past
        return Clause(f"I {verb} the {aspect}", polarity)
    adjective = pick(rng, POSITIVE + words["positive"] if word_polarity > 0 else NEGATIVE + words["negative"])
    # "Not very good" blames, but people do not agree on what "not very bad" and "hardly extremely good" mean.
    intense = rng.random() < 0.4
    if negated:
        before = "not very " if intense and word_polarity > 0 else f"{pick(rng, NEGATIONS)} "
    else:
        before = f"{pick(rng, INTENSIFIERS)} " if intense else ""
    return Clause(f"the {aspect} was {before}{adjective}", polarity)


def review(rng: np.random.Generator) -> tuple[str, bool]:
    """Draw a review of one sentence.

    Returns:
        Its text, and whether it is positive.

    Example:
        >>> text, positive = review(np.random.default_rng(1))
        >>> text[0].isupper(), text[-1]
        (True, '.')
    """
    domain = pick(rng, tuple(DOMAINS))
    polarity = 1 if _fair_coin(rng) else -1
    aspects = DOMAINS[domain]["aspects"]
    first, step = int(rng.integers(len(aspects))), int(rng.integers(1, len(aspects)))
    aspect, other = aspects[first], aspects[(first + step) % len(aspects)]
    main = clause(rng, domain, aspect, polarity)
    form = rng.integers(6)
    if form < 2:
        text = main.text
    elif form == 2:
        second = clause(rng, domain, other, polarity if _fair_coin(rng) else 0)
        clauses = (main, second) if _fair_coin(rng) else (second, main)
        text = " and ".join(part.text for part in clauses)
    else:
        conceded = clause(rng, domain, other, -polarity)
        orders = ("{1} but {0}", "{0} although {1}", "although {1}, {0}")
        text = orders[form - 3].format(main.text, conceded.text)
    return text[0].upper() + text[1:] + ".", polarity > 0


def _fair_coin(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.5)
