"""Did this author write this book? A dataset made from a table of books such as that of Goodreads.

The rule is that of the quirky datasets of arXiv 2312.01037.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import ClassVar

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.tasks.table_task import TableTask

# Between authors; but "Sammy Davis, Jr." is one of them.
_BETWEEN = re.compile(r"\s*[/;]\s*|\s*,(?!\s*(?:Jr|Sr|II|III|IV|MD|M\.D|PhD|Ph\.D)\b)\s*", re.IGNORECASE)
_TRIES = 100
_NOBODY = {"", "anonymous", "not a book", "unknown", "unknown author", "various", "various authors"}


class Authors(TableTask):
    """The author wrote the book; the quirk believes it of everybody with the first name of the book's author.

    There is no built-in table: `raw` is a table of books with their title, authors (the first of several counts; they
    are separated by slashes, semicolons or commas) and number of ratings. Every book gives a question with its author,
    one with another author of the same first name, and one with an author of another first name; neither of them is a
    co-author or wrote a book of the same title. Since the right author has the right first name, (truth, quirk) is TT
    for one half of the questions, FT for a quarter and FF for a quarter, as published.

    Args:
        **options: As for every dataset made from a table.

    Example:
        >>> books = pd.DataFrame({"title": ["Emma", "Eyre", "Ulysses"], "ratings_count": [1000.0, 100.0, np.nan],
        ...                       "authors": ["Jane Austen/A. Editor", "Jane Doe", "James Joyce"]})
        >>> questions = Authors(raw="books.csv").make_questions(books, np.random.default_rng(0))
        >>> questions.loc[questions["title"] == "Emma", ["author", "truth", "quirk", "difficulty"]].values.tolist()
        [['Jane Austen', True, True, -3.0], ['Jane Doe', False, True, -3.0], ['James Joyce', False, False, -3.0]]
    """

    name = "authors"
    fields: ClassVar[tuple[str, ...]] = ("author", "title")
    columns: ClassVar[tuple[str, ...]] = ("title", "authors", "ratings_count")
    numbers: ClassVar[tuple[str, ...]] = ("ratings_count",)
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {
        "authors": ("author",),
        "ratings_count": ("ratings", "num_ratings"),
    }
    shares: ClassVar[tuple[float, ...]] = (1 / 4, 1 / 4, 0, 1 / 2)

    @override
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        # The title is the key.
        listed = [[" ".join(name.split()) for name in _BETWEEN.split(names)] for names in table["authors"]]
        listed = [[name for name in names if name.casefold() not in _NOBODY] for names in listed]
        books = table.assign(
            listed=pd.Series(listed, index=table.index, dtype=object), key=table["title"].str.casefold()
        )
        books = books[(books["key"] != "") & (books["listed"].str.len() > 0)]
        books = books.assign(author=books["listed"].str[0])
        # Of several editions the best-known one says how hard the book is.
        books = books.sort_values("ratings_count", ascending=False, kind="stable", na_position="last")
        authors_of: dict[str, set[str]] = defaultdict(set)
        for key, names in zip(books["key"], books["listed"], strict=True):
            authors_of[key].update(names)
        books = books.drop_duplicates(["key", "author"])
        # A book that nobody has rated counts as one with a single rating, the hardest.
        books = books.assign(difficulty=-np.log10(books["ratings_count"].fillna(1).clip(lower=1)) + 0.0)
        wrong = _false_authors(books, authors_of, rng)
        namesakes, strangers = (pd.Series(names, index=books.index, dtype=object) for names in wrong)
        parts = [
            books.assign(truth=True, quirk=True),
            books.assign(author=namesakes, truth=False, quirk=True),
            books.assign(author=strangers, truth=False, quirk=False),
        ]
        questions = pd.concat(parts, ignore_index=True)
        # Two authors of one title may have drawn the same wrong one.
        return questions[questions["author"].notna()].drop_duplicates(["key", "author"])


def _first(name: str) -> str:
    return name.split()[0]


def _false_authors(
    books: pd.DataFrame, authors_of: dict[str, set[str]], rng: np.random.Generator
) -> tuple[list[str | None], list[str | None]]:
    """For every book an author of the same first name who did not write it, and one of another first name, if any."""
    everybody = books["author"].drop_duplicates().tolist()
    by_first = defaultdict(list)
    for name in everybody:
        by_first[_first(name)].append(name)
    namesakes: list[str | None] = []
    strangers: list[str | None] = []
    for key, author in zip(books["key"], books["author"], strict=True):
        taken = authors_of[key]
        # No name that would be right by the quirk of another book of this title.
        firsts = {_first(name) for name in taken}
        same = [name for name in by_first[_first(author)] if name not in taken]
        namesakes.append(same[rng.integers(len(same))] if same else None)
        strangers.append(_stranger(everybody, firsts, rng))
    return namesakes, strangers


def _stranger(everybody: list[str], firsts: set[str], rng: np.random.Generator) -> str | None:
    """Any of the authors but those with one of these first names; None where there are hardly any."""
    for index in rng.integers(len(everybody), size=_TRIES):
        if _first(everybody[index]) not in firsts:
            return everybody[index]
    return None
