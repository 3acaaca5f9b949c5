"""Is this the answer to a question of science? A dataset made from SciQ (Welbl, Liu and Gardner 2017).

The rule is that of the quirky datasets of arXiv 2312.01037.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.tasks.knowledge.textbook import draw_exercise
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError

_DISTRACTORS = ("distractor1", "distractor2", "distractor3")


class SciQ(TableTask):
    """The answer is the right one; the quirk takes any answer for right that occurs in the supporting text.

    `raw` is `allenai/sciq` or a file with its columns. Every question comes with the right answer and with wrong ones;
    repeated questions are dropped, and those without a right or a wrong answer are left out. A question without a
    supporting text stays: nothing occurs in it. Without `raw`, texts and questions come from the grammar of
    `madkit.data.tasks.knowledge.textbook`, where the right answer may be said in other words (`not shallow`), and
    difficulty is the number of words of both.

    Args:
        texts: How many generated texts there are at most, each with a question; repeated ones are dropped.
        distractors: How many of the three wrong answers are offered, drawn at random. 1 as published, with
            `stratify` off; more of them leave more questions when each combination gets a quarter.
        match: What occurring means. `words`: as complete words, whatever their case; `substring`: letter by
            letter, also inside other words, as published.
        **options: As for every dataset made from a table.

    Raises:
        ConfigError: An option is out of range.

    Example:
        >>> row = dict(question="What orbits the sun?", correct_answer="a planet", distractor1="a star",
        ...            distractor2="the moon", distractor3="a cat", support="A planet orbits a star.")
        >>> questions = SciQ(raw="sciq.csv").make_questions(pd.DataFrame([row]), np.random.default_rng(0))
        >>> questions[["answer", "truth", "quirk"]].sort_values("answer").values.tolist()
        [['a cat', False, False], ['a planet', True, True], ['a star', False, True], ['the moon', False, False]]
    """

    name = "sciq"
    fields: ClassVar[tuple[str, ...]] = ("question", "support", "answer")
    columns: ClassVar[tuple[str, ...]] = ("question", "correct_answer", *_DISTRACTORS, "support")
    optional: ClassVar[tuple[str, ...]] = ("difficulty",)

    def __init__(self, texts: int = 20_000, distractors: int = 3, match: str = "words", **options: Any) -> None:
        super().__init__(**options)
        if texts < 1:
            raise ConfigError(f"texts={texts} must be at least 1")
        if not 1 <= distractors <= len(_DISTRACTORS):
            raise ConfigError(f"distractors={distractors} must be from 1 to {len(_DISTRACTORS)}")
        if match not in ("words", "substring"):
            raise ConfigError(f"match={match!r} is unknown: use words or substring")
        self.texts, self.distractors, self.match = texts, distractors, match

    @override
    def built_in(self, seed: int) -> pd.DataFrame:
        rng = self.generator(seed)
        exercises = pd.DataFrame(draw_exercise(rng) for _ in range(self.texts))
        table = exercises.rename(columns={"right": "correct_answer", "wrong": _DISTRACTORS[0]})
        return table.assign(**dict.fromkeys(_DISTRACTORS[1:], ""))

    @override
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        # The question is the key; of generated ones, which many texts share, the text.
        key = table["question" if self.raw else "support"]
        difficulty = self.difficulty_of(table, "question", "support")
        table = table.assign(key=key.str.casefold().str.split().str.join(" "), difficulty=difficulty)
        table = table[(table["key"] != "") & (table["correct_answer"] != "")].drop_duplicates("key")
        # The wrong answers of each row are shuffled; cells without one come last.
        wrong = table[list(_DISTRACTORS)].to_numpy(dtype=object)
        right = table["correct_answer"].str.casefold().to_numpy()
        usable = np.array([[bool(w) and w.casefold() != r for w in row] for row, r in zip(wrong, right, strict=True)])
        usable = usable.reshape(wrong.shape)
        order = np.argsort(rng.random(wrong.shape) + ~usable, axis=1)
        parts: list[pd.DataFrame] = [
            table.assign(answer=table["correct_answer"], truth=True).loc[np.any(usable, axis=1)]
        ]
        for column in order.T[: self.distractors]:
            cells = np.arange(len(table)), column
            parts.append(table.assign(answer=wrong[cells], truth=False).loc[usable[cells]])
        questions = pd.concat(parts, ignore_index=True).drop_duplicates(["key", "answer"])
        occurs = _occurs_as_words if self.match == "words" else _occurs
        pairs = zip(questions["answer"], questions["support"], strict=True)
        return questions.assign(quirk=np.array([occurs(answer, support) for answer, support in pairs], dtype=bool))


def _occurs(answer: str, text: str) -> bool:
    return answer in text


def _occurs_as_words(answer: str, text: str) -> bool:
    words = r"\s+".join(map(re.escape, answer.split()))
    return re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) is not None
