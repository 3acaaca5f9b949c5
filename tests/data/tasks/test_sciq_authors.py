"""SciQ and authors: the rules, worked out row by row another way, on thousands of questions."""

import numpy as np
import pandas as pd
import pytest

from madkit.data.records.columns import question_of
from madkit.data.tasks import make_task
from madkit.errors import ConfigError, DataError

WORDS = [
    "atom", "cell", "dark matter", "ion", "carbon dioxide", "H2O", "C++", "gene", "proton", "star", "light", "acid",
    "ionic bond", "photon", "cells", "DNA",
]  # fmt: skip
LASTS = ["Abbot", "Brown", "Clark", "Davis", "Evans", "Frost", "Green"]
FIRSTS = ["Ann", "Ben", "Cleo", "Dan", "Eve", "J.K."]


@pytest.fixture(scope="module")
def science():
    """Questions like those of SciQ: empty supports, odd spaces, repeated questions, missing wrong answers."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(4000):
        right, *wrong = rng.choice(WORDS, 4, replace=False)
        support = "" if i % 6 == 0 else f"Of {', '.join(rng.choice(WORDS, 5))} much is known."
        rows.append([f"What is number {i % 3900}?", right, *wrong, support.upper() if i % 5 == 0 else support, i / 10])
    rows[10][2:5] = "", "", ""
    rows[11][1] = ""
    rows[12][0] = ""
    rows[13][2] = rows[13][1].upper()
    names = ["question", "correct_answer", "distractor1", "distractor2", "distractor3", "support", "difficulty"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="module")
def library():
    """Books like those of Goodreads: co-authors, editions, equal titles, nameless authors, no ratings."""
    rng = np.random.default_rng(1)
    people = [f"{first} {last}" for first in FIRSTS for last in LASTS]
    rows = []
    for i in range(3000):
        names = rng.choice(people, rng.integers(1, 4), replace=False)
        ratings = "" if i % 50 == 0 else int(10 ** rng.uniform(0, 6))
        rows.append([f"Book {i % 2500}", "/".join(names), ratings])
    rows[7][1] = "NOT A BOOK"
    rows[8] = ["Yes I Can", "Sammy Davis, Jr., Ann Abbot", 0]
    return pd.DataFrame(rows, columns=["title", "authors", "ratings_count"])


def save(table, folder):
    table.to_csv(folder / "raw.csv", index=False)
    return str(folder / "raw.csv")


def pool(name, table, folder, **options):
    return make_task(name, {"raw": save(table, folder), **options}).pool(0)


def spaced(text):
    """Words and signs apart, in lower case."""
    return " " + "".join(c if c.isalnum() or c == "_" else f" {c} " for c in text.lower()) + " "


def test_sciq_follows_its_rules(science, tmp_path):
    found = pool("sciq", science, tmp_path)
    answered = science[science["correct_answer"] != ""]
    first = answered.drop_duplicates("question").set_index("question").to_dict("index")
    assert len(found) > 15_000
    for row in found.itertuples():
        raw = first[row.question]
        assert row.truth == (row.answer == raw["correct_answer"])
        assert row.answer in [raw[column] for column in ("correct_answer", "distractor1", "distractor2", "distractor3")]
        needle, text = " ".join(spaced(row.answer).split()), " ".join(spaced(raw["support"]).split())
        assert row.quirk == (f" {needle} " in f" {text} ")
        assert row.difficulty == raw["difficulty"]
        assert row.answer and row.question
    assert not found.duplicated(["question", "answer"]).any()
    assert found.groupby("question")["truth"].sum().eq(1).all()
    assert found.groupby("question")["truth"].size().value_counts().index.tolist() == [4, 3]
    kinds = pd.crosstab(found["truth"], found["quirk"])
    assert (kinds.to_numpy() > 500).all()


def test_sciq_as_published(science, tmp_path):
    one = pool("sciq", science, tmp_path, distractors=1, match="substring", stratify=False)
    assert one["truth"].mean() == 0.5
    assert (one["quirk"] == [a in s for a, s in zip(one["answer"], one["support"], strict=True)]).all()
    words = pool("sciq", science, tmp_path, distractors=1)
    inside = (one["answer"] == "ion") & one["quirk"] & ~words["quirk"]
    assert inside.any()
    assert one.loc[inside, "support"].str.contains("ionic").all()


def test_authors_follow_their_rules(library, tmp_path):
    found = pool("authors", library, tmp_path)
    assert len(found) > 7000
    books = library[library["authors"] != "NOT A BOOK"]
    listed = {title: [names.split("/") for names in part] for title, part in books.groupby("title")["authors"]}
    listed["Yes I Can"] = [["Sammy Davis, Jr.", "Ann Abbot"]]
    best = pd.to_numeric(books["ratings_count"], errors="coerce").fillna(1).clip(lower=1).groupby(books["title"])
    known = {title: set(-np.log10(part)) for title, part in best}
    for row in found.itertuples():
        mains = [names[0] for names in listed[row.title]]
        everybody = {name for names in listed[row.title] for name in names}
        assert row.truth == (row.author in mains)
        if not row.truth:
            assert row.author not in everybody
        assert row.quirk == (row.author.split()[0] in {name.split()[0] for name in mains})
        assert any(np.isclose(row.difficulty, value) for value in known[row.title])
    assert not found.duplicated(["title", "author"]).any()
    assert not (found["truth"] & ~found["quirk"]).any()
    assert pd.crosstab(found["truth"], found["quirk"]).to_numpy().tolist()[0][0] > 1500


def test_the_best_known_edition_says_how_hard_a_book_is(tmp_path):
    rows = [["Emma", "Jane Austen", 10], ["EMMA", "Jane Austen/X Y", 1000], ["Eyre", "Jane Doe", 1], ["Z", "Al Z", 5]]
    found = pool("authors", pd.DataFrame(rows, columns=["title", "authors", "ratings_count"]), tmp_path)
    assert set(found.loc[found["key"] == "emma", "difficulty"]) == {-3.0}


@pytest.mark.parametrize("separator", ["/", ", ", "; ", " / "])
def test_authors_are_separated_in_several_ways(tmp_path, separator):
    rows = [[f"T{i}", f"Ann  A{i}{separator}Ben B", 10] for i in range(20)]
    found = pool("authors", pd.DataFrame(rows, columns=["title", "authors", "ratings_count"]), tmp_path)
    assert set(found.loc[found["truth"], "author"]) == {f"Ann A{i}" for i in range(20)}
    assert "Ben B" not in set(found["author"])


@pytest.mark.parametrize("name", ["sciq", "authors"])
def test_the_crosstab_the_splits_and_the_seed(name, science, library, tmp_path):
    raw = save({"sciq": science, "authors": library}[name], tmp_path)
    shares = {"sciq": [[0.25, 0.25], [0.25, 0.25]], "authors": [[0.25, 0.25], [0, 0.5]]}[name]
    options = {"raw": raw, "n_train": 800, "n_validation": 400, "n_test": 100}
    records = make_task(name, options).records(0)
    seen = {}
    for split, size in (("train", 800), ("validation", 400), ("test", 100)):
        frame = records[split].to_pandas()
        assert len(frame) == 2 * size
        alice = frame[frame["character"] == "Alice"]
        for truth in (False, True):
            for quirk in (False, True):
                share = ((alice["alice_label"] == truth) & (alice["bob_label"] == quirk)).mean()
                assert share == shares[truth][quirk]
        own = np.where(frame["character"] == "Bob", frame["bob_label"], frame["alice_label"])
        assert (frame["label"] == own).all()
        key = {"sciq": "question", "authors": "title"}[name]
        for value in {args[key].casefold() for args in frame["template_args"]}:
            assert seen.setdefault(value, split) == split
        assert len({question_of(args) for args in frame["template_args"]}) == size
    again = make_task(name, options).records(0)
    assert all(again[split].to_dict() == records[split].to_dict() for split in records)
    other = make_task(name, options).records(1)
    assert set(other["train"]["id"]) != set(records["train"]["id"])


def test_as_many_as_there_are(library, tmp_path):
    records = make_task("authors", {"raw": save(library, tmp_path)}).records(0)
    assert sum(len(part) for part in records.values()) > 2 * 0.8 * 2 * 2500


def test_records_without_difficulty_say_so(science, tmp_path):
    from madkit.cli.commands.build import build_records
    from madkit.data.records.checking import check_records

    raw = save(science.drop(columns="difficulty"), tmp_path)
    records = make_task("sciq", {"raw": raw}).records(0)
    with pytest.raises(DataError, match=r"'difficulty' of split 'train' has \d+ values.*`madkit data difficulty`"):
        check_records(records, requantile=False)
    built = build_records("sciq", task_options={"raw": raw, "n_train": 8, "n_validation": 8, "n_test": 8})
    assert "difficulty" not in built["train"].column_names
    assert len(built["train"]) == 16


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("authors", {}, r"no built-in data.*\['title', 'authors', 'ratings_count'\]"),
        ("sciq", {"distractors": 4}, "distractors=4 must be from 1 to 3"),
        ("sciq", {"match": "letters"}, "match='letters' is unknown"),
    ],
)
def test_options_that_are_wrong(name, options, message):
    with pytest.raises(ConfigError, match=message):
        make_task(name, {**({"raw": "x.csv"} if options else {}), **options})
