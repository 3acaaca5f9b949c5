"""Generated reviews, read back by another rule than the one that wrote them."""

import re

import numpy as np
import pandas as pd
import pytest

from madkit.data.tasks import make_task
from madkit.data.tasks.language.reviews import DOMAINS, NEGATIVE, NEUTRAL, POSITIVE, review
from madkit.data.tasks.language.sentiment import has_positive_word, positive_words
from madkit.errors import ConfigError, DataError

PRAISE = {
    *POSITIVE,
    *(w for d in DOMAINS.values() for w in d["positive"]),
    "enjoy",
    "enjoyed",
    "love",
    "loved",
    "like",
    "liked",
}
BLAME = {*NEGATIVE, *(w for d in DOMAINS.values() for w in d["negative"])}
BLAME |= {"hate", "hated", "dislike", "disliked", "regret", "regretted"}
ORDINARY = {*NEUTRAL, *(w for d in DOMAINS.values() for w in d["neutral"])}


def polarity(clause):
    """1, -1 or 0: the sign of its one judging word, turned round by each negation."""
    words = clause.split()
    signs = [(w in PRAISE) - (w in BLAME) for w in words if w in PRAISE | BLAME | ORDINARY]
    assert len(signs) == 1, clause
    return signs[0] * (-1) ** sum(w in ("not", "never", "hardly") for w in words)


def read(text):
    """Whether a review is positive, and how many clauses it has."""
    text = text.removesuffix(".")
    text = text if text.startswith("I ") else text[0].lower() + text[1:]
    orders = (r"although (?P<conceded>.*), (?P<main>.*)", r"(?P<main>.*) although (?P<conceded>.*)")
    orders += (r"(?P<conceded>.*) but (?P<main>.*)",)
    found = next(filter(None, (re.fullmatch(order, text) for order in orders)), None)
    if found is None:
        signs = {polarity(clause) for clause in text.split(" and ")} - {0}
        assert len(signs) == 1, text
        return signs == {1}, 1 + text.count(" and ")
    assert polarity(found["conceded"]) == -polarity(found["main"]), text
    return polarity(found["main"]) > 0, 2


def test_every_review_means_what_its_label_says():
    rng = np.random.default_rng(0)
    reviews = [review(rng) for _ in range(5000)]
    assert all(read(text)[0] == positive for text, positive in reviews)
    assert 0.45 < np.mean([positive for _, positive in reviews]) < 0.55


def test_the_grammar_uses_all_its_means():
    rng = np.random.default_rng(1)
    texts = [review(rng)[0] for _ in range(3000)]
    for word in (
        "not",
        "never",
        "hardly",
        "very",
        "extremely",
        "but",
        "although",
        "Although",
        "and",
        "did not",
        "I really",
    ):
        assert sum(bool(re.search(rf"\b{word}\b", text)) for text in texts) > 30, word
    for domain in DOMAINS.values():
        assert all(any(aspect in text for text in texts) for aspect in domain["aspects"])
    # No sentence judges one thing twice.
    for text in texts:
        aspects = re.findall(r"\bthe (\w+)", text.lower())
        assert len(set(aspects)) == len(aspects), text


def test_the_quirk_is_a_word_of_the_lexicon_and_the_grammar_knows_it():
    lexicon = positive_words()
    assert lexicon >= PRAISE
    assert not lexicon & (BLAME | ORDINARY)
    assert not lexicon & {aspect for domain in DOMAINS.values() for aspect in domain["aspects"]}
    assert all(word == word.lower() for word in lexicon)
    for text in ("GOOD!", "It was not good, sadly", "good-looking", "so-called GREAT.Thing"):
        assert has_positive_word(text, lexicon)
    assert not has_positive_word("goodness, unlikely", lexicon) and not has_positive_word("", lexicon)


def test_no_combination_is_foretold_in_easy_or_hard_questions():
    """Stratified overall; in the easy and the hard quarter every combination occurs often."""
    records = make_task("sentiment", {"n_train": 8000, "n_validation": 2000, "n_test": 0, "repeats": 4}).records(0)
    frame = records["train"].to_pandas()
    counts = frame.groupby(["alice_label", "bob_label"]).size()
    assert counts.tolist() == [4000] * 4
    for quarter in (frame[frame["difficulty_quantile"] < 0.25], frame[frame["difficulty_quantile"] >= 0.75]):
        shares = quarter.groupby(["alice_label", "bob_label"]).size() / len(quarter)
        assert len(shares) == 4 and shares.min() > 0.08, shares


def test_labels_and_splits():
    questions = make_task("sentiment", {"n_train": 4000, "n_validation": 1000, "n_test": 400}).questions(seed=3)
    for split in questions.values():
        for text, truth, quirk in zip(split.args["review"], split.truth, split.quirk, strict=True):
            assert read(text)[0] == truth
            assert quirk == any(word in PRAISE for word in re.findall(r"\w+", text.lower()))
        words = [len(text.split()) for text in split.args["review"]]
        assert split.difficulty.tolist() == words
    texts = [set(split.args["review"]) for split in questions.values()]
    assert [len(t) for t in texts] == [4000, 1000, 400]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_a_table_of_real_reviews_has_the_same_rules():
    table = pd.DataFrame(
        {
            "review": ["It broke.", "It broke.", "I love it", "No good", "Could not ask for more"],
            "title": ["Great idea", None, "", None, "!"],
            "label": [False, False, True, False, True],
            "difficulty": [3.0, 1.0, 2.0, 5.0, 4.0],
        }
    )
    asked = make_task("sentiment").make_questions(table, np.random.default_rng(0))
    assert asked["review"].tolist() == table["review"].tolist()
    assert asked["title"].tolist() == ["Great idea", "My opinion", "My opinion", "My opinion", "!"]
    assert asked["quirk"].tolist() == [False, False, True, True, False]
    assert asked["truth"].tolist() == [False, False, True, False, True]
    assert asked["difficulty"].tolist() == [3, 1, 2, 5, 4]


def test_amazon_reviews_as_they_are(tmp_path):
    """Both editions of the set: ClassLabels 0 and 1, and a file without a header with 1 and 2."""
    long = "bad " * 3000
    rows = [
        (1, "Stuning even for the non-gamer", "This was BEAUTIFUL!It paints, and I recommend it."), (0, "Ok", "Plain."),
        (1, "", f"{long}Great-looking."), (0, "Don't", "It doesn't work, goodness knows \u2019twas \u201cgood\u201d"),
        (0, "", f"{long}"), (0, "Ok", "Plain."), (1, "x", ""),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["label", "title", "content"])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(label=frame["label"] + 1).to_csv(tmp_path / "b.csv", index=False, header=False)
    columns = {"label": 0, "title": 1, "review": 2}
    for raw in (str(tmp_path / "a.parquet"), {"path": str(tmp_path / "b.csv"), "columns": columns}):
        pool = make_task("sentiment", {"raw": raw}).pool(0)
        assert pool["truth"].tolist() == [True, False, True, False, False]
        assert pool["quirk"].tolist() == [True, False, True, True, False]
        assert pool["difficulty"].isna().all()


def test_a_lexicon_of_ones_own(tmp_path):
    (tmp_path / "words.txt").write_bytes(b"; a list\n# of words\nPlain\nna\xefve\n\n")
    table = pd.DataFrame({"review": ["Quite plain.", "Great!", "Good"], "label": ["positive", "negative", "positive"]})
    asked = make_task("sentiment", {"lexicon": str(tmp_path / "words.txt")}).make_questions(
        table, np.random.default_rng(0)
    )
    assert asked["quirk"].tolist() == [True, False, False]
    assert asked["truth"].tolist() == [True, False, True]
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        make_task("sentiment", {"lexicon": "none.txt"}).make_questions(table, np.random.default_rng(0))
    (tmp_path / "empty.txt").write_text("; nothing\n")
    with pytest.raises(DataError, match="holds no words"):
        make_task("sentiment", {"lexicon": str(tmp_path / "empty.txt")}).make_questions(table, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"'label' has the labels \['3'\]: use"):
        make_task("sentiment").make_questions(table.assign(label=[1, 0, 3]), np.random.default_rng(0))


def test_refuses_no_sentences():
    with pytest.raises(ConfigError, match="sentences=0"):
        make_task("sentiment", {"sentences": 0})
    with pytest.raises(ConfigError, match="sentences=0"):
        make_task("nli", {"sentences": 0})
    with pytest.raises(ConfigError, match="restricted=2"):
        make_task("nli", {"restricted": 2})
