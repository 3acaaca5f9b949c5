"""Reviews: is one positive, or does it only contain a positive word?"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from madkit.data.tasks.reviews import review
from madkit.data.tasks.table import TableTask, count_words
from madkit.errors import ConfigError

_WORDS = re.compile(r"[a-z]+(?:-[a-z]+)*")


class Sentiment(TableTask):
    """The review is positive; the quirk takes it for positive if it contains a positive word.

    Without `raw`, reviews come from the grammar of `madkit.data.tasks.reviews`, where `not dull` praises and
    `great, but ...` blames. Difficulty is the table's own column if it has one, else the number of words.

    Args:
        sentences: How many generated reviews there are at most; repeated ones are dropped.
        **options: As for every dataset made from a table.

    Raises:
        ConfigError: `sentences` is below 1.

    Example:
        >>> task = Sentiment(n_train=100, n_validation=0, n_test=0, sentences=4000)
        >>> split = task.questions(seed=0)["train"]
        >>> int(split.truth.sum()), int(split.quirk.sum()), int((split.truth & split.quirk).sum())
        (50, 50, 25)
    """

    name = "sentiment"
    fields: ClassVar[tuple[str, ...]] = ("text",)
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    optional: ClassVar[tuple[str, ...]] = ("title", "difficulty")

    def __init__(self, sentences: int = 20_000, **options: Any) -> None:
        super().__init__(**options)
        if sentences < 1:
            raise ConfigError(f"sentences={sentences} must be at least 1")
        self.sentences = sentences

    def built_in(self, seed: int) -> pd.DataFrame:
        """Generated reviews: text, and label, whether it is positive."""
        rng = np.random.default_rng([seed, 2, *self.name.encode()])
        return pd.DataFrame((review(rng) for _ in range(self.sentences)), columns=["text", "label"])

    def ask(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """See `TableTask.ask`; the key is the text with its title."""
        text = table["text"]
        if "title" in table:
            text = (table["title"].fillna("") + ". " + text).str.removeprefix(". ")
        difficulty = table.get("difficulty", count_words(text))
        asked = pd.DataFrame(
            {"text": text, "key": text, "truth": table["label"].astype(bool), "difficulty": difficulty}
        )
        return asked.assign(quirk=text.map(has_positive_word)).drop_duplicates("key")


def has_positive_word(text: str) -> bool:
    """Whether a text contains a word of the positive lexicon, whatever is said about it.

    Example:
        >>> has_positive_word("The soup was not good."), has_positive_word("Never boring!")
        (True, False)
    """
    return not positive_words().isdisjoint(_WORDS.findall(text.lower()))


@cache
def positive_words() -> frozenset[str]:
    """The positive lexicon, in lower case."""
    text = (resources.files("madkit.data") / "lexicons" / "positive.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
