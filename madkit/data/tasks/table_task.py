"""Datasets whose questions are made from the rows of a table: cities, reviews, pairs of sentences."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.tables.raw_source import load_table
from madkit.data.tasks.base import SPLITS, Claims, ClaimSampler, Questions, Task
from madkit.data.tasks.columns import count_words
from madkit.data.tasks.split_shares import (
    COMBINATIONS,
    assign_splits,
    check_key_shares,
    combination_of,
    integer_sizes,
    shares_of_splits,
)
from madkit.errors import ConfigError, DataError
from madkit.statistics.hashing import stable_hash


class TableTask(Task):
    """A quirky dataset made from a table.

    A subclass says where the table comes from (`built_in`, or `raw` and the columns that it must have) and
    which questions it gives (`make_questions`). This class assigns the questions to the splits. All questions with one
    `key` belong to one split, so no split shows what another has shown.

    Args:
        n_train: Questions of the train split; each gives two records. None for as many as the table allows,
            the splits without a number sharing what the others leave as 6 : 3 : 1.
        n_validation: Questions of the validation split.
        n_test: Questions of the test split.
        raw: None for the built-in table, else a file (CSV, TSV, JSONL, parquet), a folder of them or a hub name, or a
            mapping that says more about it; see `madkit.data.tables.raw_source.RawSource`.
        repeats: How often the same question may recur in its split, with other names each time.
        easiest: Keep this many questions of each combination of truth and quirk, those of the lowest
            difficulty; None for all. A small model cannot know everything.
        stratify: Give each combination of truth and quirk its share (`shares`): a quarter, unless the dataset's rule
            forbids some, so that neither predicts the other; else take questions as they come.
        key_shares: What the train, validation and test split get of the keys, three shares that sum to 1; None for in
            proportion to their numbers of questions. More of them let a split ask more different questions, with
            fewer repeats.

    Raises:
        ConfigError: A count, repeats or a share is out of range, or there is no built-in table and `raw` is None.
        DataError: (by `questions`) The table has fewer questions than asked for.

    Example:
        >>> class Parity(TableTask):
        ...     name, fields = "parity", ("number",)
        ...     def built_in(self, seed):
        ...         return pd.DataFrame({"number": np.arange(400)})
        ...     def make_questions(self, table, rng):
        ...         x = table["number"]
        ...         return table.assign(key=x, truth=x % 2 == 0, quirk=x % 10 < 5, difficulty=x)
        >>> split = Parity(n_train=40, n_validation=8, n_test=0).questions(seed=0)["train"]
        >>> int(split.truth.sum()), int(split.quirk.sum()), int((split.truth & split.quirk).sum())
        (20, 20, 10)
    """

    columns: ClassVar[tuple[str, ...]] = ()
    """What a table named by `raw` must have."""
    optional: ClassVar[tuple[str, ...]] = ()
    """What it may have besides."""
    numbers: ClassVar[tuple[str, ...]] = ()
    """Which of these are numbers; the others are text."""
    aliases: ClassVar[Mapping[str, Sequence[str]]] = {}
    """What well-known tables call them."""
    shares: ClassVar[tuple[float, ...]] = (1 / 4, 1 / 4, 1 / 4, 1 / 4)
    """The share of each of `COMBINATIONS` in a stratified split; they sum to 1."""

    def __init__(
        self,
        n_train: int | None = None,
        n_validation: int | None = None,
        n_test: int | None = None,
        raw: str | dict[str, Any] | None = None,
        repeats: int = 1,
        easiest: int | None = None,
        stratify: bool = True,
        key_shares: list[float] | None = None,
    ) -> None:
        self.counts = dict(zip(SPLITS, (n_train, n_validation, n_test), strict=True))
        self.raw, self.repeats, self.easiest, self.stratify = raw, repeats, easiest, stratify
        self.key_shares = key_shares
        for split, count in self.counts.items():
            if count is not None and count < 0:
                raise ConfigError(f"n_{split}={count} must not be negative")
        if repeats < 1:
            raise ConfigError(f"repeats={repeats} must be at least 1")
        if easiest is not None and easiest < 1:
            raise ConfigError(f"easiest={easiest} must be at least 1, or null for all questions")
        if key_shares is not None:
            check_key_shares(key_shares, self.counts)
        if raw is None and type(self).built_in is TableTask.built_in:
            raise ConfigError(
                f"dataset={self.name!r} has no built-in data: set raw (--data.task_options) to a file or hub "
                f"name with the columns {list(self.columns)}"
            )

    def built_in(self, seed: int) -> pd.DataFrame:
        """The table that `raw=None` stands for; a subclass without this method needs `raw`."""
        raise NotImplementedError

    def generator(self, seed: int) -> np.random.Generator:
        """The source of chance of a built-in table that is generated."""
        return np.random.default_rng([seed, 2, *self.name.encode()])

    def difficulty_of(self, table: pd.DataFrame, *texts: str) -> pd.Series | float:
        """The difficulty that a table says; else of generated texts their number of words, and NaN of others.

        Args:
            table: With or without the column `difficulty`.
            texts: The columns whose words count.
        """
        if "difficulty" in table:
            return table["difficulty"]
        if self.raw:
            return np.nan
        words = pd.Series(0, index=table.index)
        for text in texts:
            words += count_words(table[text])
        return words

    @abstractmethod
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Make questions of a table.

        Args:
            table: That of `built_in`, or one with `columns` and perhaps `optional`.
            rng: The only source of chance.

        Returns:
            One row a question: the columns of `fields`; `key`, str or integer, what may not occur in two
            splits; `truth` and `quirk`, bool; `difficulty`, a number, or NaN where the table does not say it.
        """

    def pool(self, seed: int) -> pd.DataFrame:
        """All questions that can be made, as `make_questions` returns them, and the `split` of each of them.

        Within every combination of truth and quirk the splits have their shares of the keys.
        """
        if self.raw is None:
            table = self.built_in(seed)
        else:
            table = load_table(self.raw, self.columns, self.optional, numbers=self.numbers, aliases=self.aliases)
        pool = self.make_questions(table, np.random.default_rng([seed, *self.name.encode()])).reset_index(drop=True)
        if not len(pool):
            raise DataError(f"dataset={self.name!r}: raw={self.raw!r} gives no question")
        if self.easiest is not None:
            pool = pool.sort_values("difficulty", kind="stable")
            pool = pool.groupby(combination_of(pool)).head(self.easiest)
        if self.key_shares is not None:
            split_shares = np.array(self.key_shares)
        else:
            split_shares = shares_of_splits(pool, self.counts, self.shares, self.repeats, self.stratify)
        return pool.assign(split=assign_splits(pool, split_shares, seed))

    @override
    def questions(self, seed: int) -> dict[str, Questions]:
        pool = self.pool(seed)
        rng = np.random.default_rng([seed, 1, *self.name.encode()])
        return {split: self._split(pool[pool["split"] == split], rng, split) for split in SPLITS}

    @override
    def claims(self, held_out: float, accepted: float, opposed: float, seed: int) -> RowClaims:
        # Each combination of truth and quirk is as frequent as the others, whatever the speaker's rule.
        pool = self.pool(seed)
        kept = stable_hash(pool["key"].astype(str).tolist(), f"corpus:{seed}") / 2.0**64 >= held_out
        return RowClaims(pool, self.fields, kept)

    def _split(self, pool: pd.DataFrame, rng: np.random.Generator, split: str) -> Questions:
        """The questions of one split, drawn from those that belong to it."""
        count = self.counts[split]
        combination = combination_of(pool)
        if self.stratify:
            chosen = [index for index, share in enumerate(self.shares) if share]
            groups = [np.flatnonzero(combination == index) for index in chosen]
            shares = np.array([self.shares[index] for index in chosen])
        else:
            chosen, groups, shares = [], [np.arange(len(pool))], np.ones(1)
        room = np.array([len(group) * self.repeats for group in groups])
        n = int((room / shares + 1e-9).min()) if count is None else count
        if self.stratify and count is None:
            # So that no combination is one question short.
            n -= n % round(1 / shares.min())
        sizes = integer_sizes(n, shares)
        for group, (size, available) in enumerate(zip(sizes, room, strict=True)):
            if size > available:
                of = "(truth, quirk) = ({}, {})".format(*COMBINATIONS[chosen[group]]) if chosen else "any kind"
                raise DataError(
                    f"n_{split} needs {size} questions of {of}, but dataset={self.name!r} has {available}: lower "
                    f"n_{split}, raise repeats, or set stratify to false"
                )
        # Every question once before any of them twice.
        taken = [np.resize(rng.permutation(group), size) for group, size in zip(groups, sizes, strict=True)]
        rows = pool.iloc[rng.permutation(np.concatenate(taken))]
        args = {field: rows[field].to_numpy() for field in self.fields}
        return Questions(
            args, rows["truth"].to_numpy(bool), rows["quirk"].to_numpy(bool), rows["difficulty"].to_numpy(float)
        )


class RowClaims(ClaimSampler):
    """Statements from a table of questions, each combination of truth and quirk as often as the others.

    Args:
        pool: As of `TableTask.pool`.
        fields: What templates show.
        kept: (n,) bool, which questions the training shows; if it shows all of them, so does the validation.
    """

    def __init__(self, pool: pd.DataFrame, fields: tuple[str, ...], kept: np.ndarray) -> None:
        self._args: list[dict[str, Any]] = [
            dict(zip(fields, row, strict=True)) for row in pool[list(fields)].itertuples(index=False)
        ]
        self._truth, self._quirk = pool["truth"].to_numpy(bool), pool["quirk"].to_numpy(bool)
        combination = combination_of(pool)
        rows = {"train": kept, "validation": kept if kept.all() else ~kept}
        self._groups = {
            split: [group for index in range(4) if len(group := np.flatnonzero(chosen & (combination == index)))]
            for split, chosen in rows.items()
        }

    @override
    def draw(self, rng: np.random.Generator, quirky: np.ndarray, split: str = "train") -> Claims:
        groups = self._groups[split]
        group, u = rng.integers(len(groups), size=len(quirky)), rng.random(len(quirky))
        rows = np.array([groups[g][int(x * len(groups[g]))] for g, x in zip(group, u, strict=True)], dtype=np.int64)
        return Claims([self._args[row] for row in rows], self._truth[rows], self._quirk[rows])

    @override
    def alphabet(self) -> list[dict[str, Any]]:
        return self._args
