"""Reviews: is one positive, or does it only contain a positive word?"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.tasks.columns import truth_of
from madkit.data.tasks.language.reviews import review
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError, DataError

#: The title of a review that has none.
UNTITLED = "My opinion"
_WORDS = re.compile(r"[a-z]+(?:['-][a-z]+)*")


class Sentiment(TableTask):
    """The review is positive; the quirk takes it for positive if it contains a positive word.

    Without `raw`, reviews come from the grammar of `madkit.data.tasks.language.reviews`, where `not dull` praises and
    `great, but ...` blames, and difficulty is the number of words. `raw` is `fancyzhx/amazon_polarity` or a table
    like it, whose labels are negative (0) and positive (1), or 1 and 2 as in its first edition; its difficulty is the
    column of this name. Whether there is a positive word depends on the review alone, not on its title.

    Args:
        sentences: How many generated reviews there are at most; repeated ones are dropped.
        lexicon: A file with a positive word in each line, and comments behind `#` or `;`; None for the built-in one.
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
    fields: ClassVar[tuple[str, ...]] = ("title", "review")
    columns: ClassVar[tuple[str, ...]] = ("review", "label")
    optional: ClassVar[tuple[str, ...]] = ("title", "difficulty")
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {"review": ("content", "text", "body")}

    def __init__(self, sentences: int = 20_000, lexicon: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if sentences < 1:
            raise ConfigError(f"sentences={sentences} must be at least 1")
        self.sentences, self.lexicon = sentences, lexicon

    @override
    def built_in(self, seed: int) -> pd.DataFrame:
        rng = self.generator(seed)
        return pd.DataFrame((review(rng) for _ in range(self.sentences)), columns=["review", "label"])

    @override
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        # The key is the title with the review.
        title = table["title"].fillna("") if "title" in table else ""
        table = table.assign(truth=_praises(table["label"]), title=title)
        table = table[table["truth"].notna() & (table["review"] != "")]
        title = table["title"].where(table["title"] != "", UNTITLED)
        questions = table.assign(title=title, key=title + ". " + table["review"], truth=table["truth"].astype(bool))
        questions = questions.drop_duplicates("key")
        questions["difficulty"] = self.difficulty_of(questions, "review")
        positive = positive_words(self.lexicon)
        return questions.assign(quirk=[has_positive_word(review, positive) for review in questions["review"]])


def _praises(labels: pd.Series) -> pd.Series:
    """True for a positive review, False for a negative one."""
    codes = set(labels.astype(str))
    if "2" in codes and "0" not in codes:
        return truth_of(labels, {"2"}, {"1"})
    return truth_of(labels, {"1", "positive", "true"}, {"0", "negative", "false"})


def has_positive_word(text: str, positive: Collection[str]) -> bool:
    """Whether a text contains a word of a positive lexicon, whatever is said about it.

    Example:
        >>> words = positive_words()
        >>> has_positive_word("The soup was NOT good!", words), has_positive_word("Never boring!", words)
        (True, False)
    """
    words = _WORDS.findall(text.lower().replace("\u2019", "'"))
    # Of "great-looking" either half counts, and so does a "well-made" that the lexicon lists.
    return any(word in positive or any(part in positive for part in word.split("-")) for word in words)


@cache
def positive_words(lexicon: str | None = None) -> frozenset[str]:
    """A positive lexicon, in lower case.

    Args:
        lexicon: A file with a word in each line; None for the built-in one.

    Raises:
        ConfigError: There is no such file.
        DataError: It holds no words.
    """
    if lexicon is None:
        text = (resources.files("madkit.data") / "lexicons" / "positive.txt").read_text(encoding="utf-8")
    else:
        try:
            # Of the well-known lists some are not UTF-8; none of their English words is changed by this.
            text = Path(lexicon).expanduser().read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise ConfigError(f"lexicon={lexicon!r} cannot be read: {error.strerror}") from None
    lines = (line.strip().lower() for line in text.splitlines())
    words = frozenset(line for line in lines if line and line[0] not in "#;")
    if not words:
        raise DataError(f"lexicon={lexicon!r} holds no words: write one in each line")
    return words
