"""Generated texts and questions: every answer against what the sentences say, read from the sentences alone."""

import re

import numpy as np
import pandas as pd
import pytest

from madkit.data.tasks import make_task
from madkit.data.tasks.knowledge.textbook import FIELDS, draw_exercise
from madkit.errors import ConfigError

OPPOSITE = {word: other for field in FIELDS for pair in field.opposites for word, other in (pair, pair[::-1])}
#: A sentence, and for each thing in it whether the adjective holds of it.
READERS = (
    (r"the (\w+) is (?!not)(\w+)", (True,)),
    (r"the (\w+) is not (\w+)", (False,)),
    (r"both the (\w+) and the (\w+) are (\w+)", (True, True)),
    (r"neither the (\w+) nor the (\w+) is (\w+)", (False, False)),
    (r"unlike the (\w+), the (\w+) is (\w+)", (False, True)),
)


def read(support):
    """What a text says: {thing: adjective}; fails where it says two things of one."""
    told = {}
    for sentence in support.removesuffix(".").split(". "):
        matches = [
            (found.groups(), signs)
            for pattern, signs in READERS
            if (found := re.fullmatch(pattern, sentence[0].lower() + sentence[1:]))
        ]
        assert len(matches) == 1, sentence
        (*things, adjective), signs = matches[0]
        for thing, sign in zip(things, signs, strict=True):
            assert thing not in told
            told[thing] = adjective if sign else OPPOSITE[adjective]
    return told


def test_every_answer_is_what_the_text_says():
    rng = np.random.default_rng(0)
    exercises = [draw_exercise(rng) for _ in range(3000)]
    for support, question, right, wrong in exercises:
        thing, *offered = re.fullmatch(r"Is the (\w+) (\w+) or (\w+)\?", question).groups()
        assert read(support)[thing] == right
        assert sorted(offered) == sorted([right, wrong])
        assert OPPOSITE[right] == wrong
    assert len(set(exercises)) > 2500
    assert {support.count(".") for support, *_ in exercises} == {1, 2, 3}
    # Neither the order of the two answers nor the adjective gives the answer away.
    first = np.mean([question.split()[-3] == right for _, question, right, _ in exercises])
    assert abs(first - 0.5) < 4 * np.sqrt(0.25 / 3000)
    for field in FIELDS:
        for word, other in field.opposites:
            of_pair = [
                e.right for e in exercises if word in e.question.rstrip("?").split() and e.wrong in (word, other)
            ]
            assert abs(np.mean([right == word for right in of_pair]) - 0.5) < 4 * np.sqrt(0.25 / len(of_pair))


def test_no_adjective_is_part_of_another():
    assert not any(word in other for word in OPPOSITE for other in OPPOSITE if word != other)
    things = [thing for field in FIELDS for thing in field.things]
    assert not any(thing in word or word in thing for thing in things for word in OPPOSITE)


def test_sciq_made_of_them_has_every_combination_and_no_text_in_two_splits():
    options = {"n_train": 1200, "n_validation": 800, "n_test": 0, "texts": 6000}
    task = make_task("sciq", options)
    found = task.pool(0)
    for row in found.itertuples():
        thing = row.question.split()[2]
        assert row.truth == (read(row.support)[thing] == row.answer)
        assert row.quirk == (row.answer in re.findall(r"\w+", row.support.lower()))
        assert row.difficulty == len(f"{row.support} {row.question}".split())
    splits = {split: questions for split, questions in task.questions(0).items() if len(questions.truth)}
    for split, questions in splits.items():
        kinds = pd.crosstab(questions.truth, questions.quirk).to_numpy()
        assert (kinds == options[f"n_{split}"] // 4).all()
    texts = {split: set(questions.args["support"]) for split, questions in splits.items()}
    assert not texts["train"] & texts["validation"]
    # Questions recur with other texts, so that a text must be read.
    assert len(set(splits["train"].args["question"])) < len(texts["train"])


def test_no_text_is_an_error():
    with pytest.raises(ConfigError, match="texts=0 must be at least 1"):
        make_task("sciq", {"texts": 0})
