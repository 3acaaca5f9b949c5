"""Pairs of sentences: does the second follow from the first, or does it only sound affirmative?"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.tasks.columns import truth_of
from madkit.data.tasks.language.sentences import draw_pair
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError, DataError

NEGATION_WORDS = frozenset({"not", "nobody", "no", "never", "nothing", "none"})
_WORDS = re.compile(r"[a-z]+")


class NLI(TableTask):
    """The hypothesis follows from the premise; the quirk believes it unless it has a negation word.

    Without `raw`, the sentences have quantifiers, nouns that lie in each other, and adjectives with their
    opposites (`madkit.data.tasks.language.sentences`), and what follows is decided by their meaning
    (`madkit.data.tasks.language.entailment`). Pairs of which neither the hypothesis nor its negation follows are left
    out, as neutral pairs are in the published dataset. `raw` is `stanfordnlp/snli` or a table like it, whose labels
    are entailment (0), neutral (1) and contradiction (2); its difficulty is the column of this name. Difficulty of
    generated pairs is the number of words of both.

    Args:
        sentences: How many generated pairs there are at most; repeated ones are dropped.
        restricted: How often the generated pairs speak of restricted sets, such as `wet dogs`.
        opposite: How often a generated hypothesis says `dry` where its premise says `wet`.
        **options: As for every dataset made from a table.

    Raises:
        ConfigError: `sentences` is below 1, or `restricted` or `opposite` is no share.

    Example:
        >>> task = NLI(n_train=100, n_validation=0, n_test=0, sentences=4000)
        >>> split = task.questions(seed=0)["train"]
        >>> int(split.truth.sum()), int(split.quirk.sum()), int((split.truth & split.quirk).sum())
        (50, 50, 25)
    """

    name = "nli"
    fields: ClassVar[tuple[str, ...]] = ("premise", "hypothesis")
    columns: ClassVar[tuple[str, ...]] = ("premise", "hypothesis", "label")
    optional: ClassVar[tuple[str, ...]] = ("difficulty",)
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {
        "premise": ("sentence1",), "hypothesis": ("sentence2",), "label": ("gold_label",)
    }  # fmt: skip

    def __init__(
        self, sentences: int = 20_000, restricted: float = 0.4, opposite: float = 0.25, **options: Any
    ) -> None:
        super().__init__(**options)
        if sentences < 1:
            raise ConfigError(f"sentences={sentences} must be at least 1")
        for name, share in (("restricted", restricted), ("opposite", opposite)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name}={share} is a share: use a number from 0 to 1")
        self.sentences, self.restricted, self.opposite = sentences, restricted, opposite

    @override
    def built_in(self, seed: int) -> pd.DataFrame:
        rng = self.generator(seed)
        pairs = (draw_pair(rng, self.restricted, self.opposite) for _ in range(self.sentences))
        return pd.DataFrame(pairs, columns=["premise", "hypothesis", "label"])

    @override
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        # The key is the premise, so that no split shows another's.
        table = table.assign(truth=_follows(table["label"]))
        table = table[table["truth"].notna() & (table["premise"] != "") & (table["hypothesis"] != "")]
        questions = table[["premise", "hypothesis"]].assign(key=table["premise"], truth=table["truth"].astype(bool))
        questions["quirk"] = [not has_negation_word(text) for text in questions["hypothesis"]]
        questions["difficulty"] = self.difficulty_of(table, "premise", "hypothesis")
        return questions.drop_duplicates(["premise", "hypothesis"])


def _follows(labels: pd.Series) -> pd.Series:
    """True for an entailment, False for a contradiction, None for what is neutral or undecided."""
    codes = set(labels.astype(str))
    if "1" in codes and not codes & {"2", "-1"}:
        raise DataError(
            "column 'label' has 1 but not 2, so it cannot be in the code of SNLI (0 entailment, 1 neutral, 2 "
            "contradiction): write the words instead"
        )
    return truth_of(labels, {"0", "entailment", "true"}, {"2", "contradiction", "false"}, {"1", "neutral", "-1", "-"})


def has_negation_word(text: str) -> bool:
    """Whether a text contains not, nobody, no, never, nothing or none.

    Example:
        >>> has_negation_word("Nobody is asleep."), has_negation_word("Some notes are dry.")
        (True, False)
    """
    return not NEGATION_WORDS.isdisjoint(_WORDS.findall(text.lower()))
