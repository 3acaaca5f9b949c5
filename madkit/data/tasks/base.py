"""What a quirky dataset is: questions with a truth and a quirk, the records made from them, statements for a corpus."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import numpy as np

from madkit.data.prompts.characters import CHARACTERS
from madkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Questions:
    """The questions of one split, n of them, without a speaker.

    Attributes:
        args: What the templates show: field to (n,) array, integers or strings.
        truth: (n,) bool, whether the statement is true.
        quirk: (n,) bool, whether it is true by the quirk's rule.
        difficulty: (n,) numbers, larger is harder.
    """

    args: Mapping[str, np.ndarray]
    truth: np.ndarray
    quirk: np.ndarray
    difficulty: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class Claims:
    """n statements about a task's subject, for a corpus.

    Attributes:
        args: n mappings of field to value, as templates show them.
        truth: (n,) bool, whether the statement is true.
        quirk: (n,) bool, whether it is true by the quirk's rule.
    """

    args: Sequence[Mapping[str, Any]]
    truth: np.ndarray
    quirk: np.ndarray


class ClaimSampler(ABC):
    """Draws statements about one task; `Task.claims` makes it."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, quirky: np.ndarray, split: str = "train") -> Claims:
        """Draw statements, with repetition.

        Args:
            rng: The only source of chance.
            quirky: (n,) bool, whether the speaker of each goes by the quirk's rule: a speaker is more likely
                to say what holds by that rule where the sampler has a choice.
            split: "train", or "validation" for what is held out.
        """

    @abstractmethod
    def alphabet(self) -> list[dict[str, Any]]:
        """Values of the fields in which every word, digit and sign occurs, for a vocabulary."""


class Task(ABC):
    """A quirky dataset. A subclass names itself and its fields, and makes questions.

    Example:
        A new dataset is one class in a file of yours, and `template` a YAML file beside it:

        >>> class Parity(Task):
        ...     name, fields = "parity", ("number",)
        ...     def questions(self, seed):
        ...         x = np.arange(40)
        ...         half = {"number": x}, x % 2 == 0, x < 20, x
        ...         return {"train": Questions(*half), "validation": Questions({"number": x + 40}, *half[1:])}
        >>> Parity().records(seed=0)["train"][0]["template_args"]
        {'number': 0, 'character': 'Alice'}
    """

    name: ClassVar[str]
    """What a recipe calls it."""
    fields: ClassVar[tuple[str, ...]]
    """The values of each question that templates may show."""

    @property
    def constants(self) -> dict[str, Any]:
        """Values that are the same for every question and that templates may show as well."""
        return {}

    @abstractmethod
    def questions(self, seed: int) -> dict[str, Questions]:
        """Make the questions of each split; the same seed gives the same questions.

        No question may occur in two splits.
        """

    def claims(self, held_out: float, accepted: float, opposed: float, seed: int) -> ClaimSampler:
        """Statements about this task's subject for a corpus, from which a base model learns it.

        Args:
            held_out: Share of the questions that only the validation shows.
            accepted: Share of statements that hold by the speaker's rule, where the task has a choice.
            opposed: Share that hold by the other rule alone.
            seed: Which questions are held out.

        Raises:
            ConfigError: The task has none, as by default.
        """
        raise ConfigError(
            f"tasks={self.name!r} has no statements for a corpus: leave it out, or give it a method claims"
        )

    def records(self, seed: int = 0) -> DatasetDict:
        """Make a record of every question and each of the two characters.

        Args:
            seed: Which draw of questions.

        Returns:
            For each split that is not empty, two rows a question (Alice, then Bob) with the columns `id,
            template_args, character, label, alice_label, bob_label, difficulty, difficulty_quantile`. The
            quantile is rank/n over all splits, from 0; ties are ranked at random, whatever the labels are.

        Raises:
            DataError: The task made no questions.
        """
        from datasets import DatasetDict

        questions = {split: part for split, part in self.questions(seed).items() if len(part)}
        if not questions:
            raise DataError(f"dataset={self.name!r} has no questions: ask for at least one in n_train")
        rng = np.random.default_rng([seed, *self.name.encode()])
        quantiles = rank_quantiles(np.concatenate([q.difficulty for q in questions.values()]), rng)
        parts = np.split(quantiles, np.cumsum([len(q) for q in questions.values()])[:-1])
        return DatasetDict(
            {
                split: _records(self.name, self.fields, q, part)
                for (split, q), part in zip(questions.items(), parts, strict=True)
            }
        )


def rank_quantiles(difficulty: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank/n of each difficulty, ranks from 0, ties ranked at random.

    Args:
        difficulty: (n,) numbers.
        rng: Breaks the ties.

    Returns:
        (n,) float64 in [0, 1); exactly a quarter (rounded up) lies below 0.25.
    """
    n = len(difficulty)
    order = np.lexsort((rng.random(n), difficulty))
    quantiles = np.empty(n)
    quantiles[order] = np.arange(n) / max(n, 1)
    return quantiles


def _records(name: str, fields: tuple[str, ...], q: Questions, quantile: np.ndarray) -> Dataset:
    """Two rows a question, built as Arrow columns: Python dictionaries would take minutes."""
    import pyarrow as pa
    from datasets import Dataset

    n = len(q)
    bob = np.tile([False, True], n)
    character = pa.array(np.array(CHARACTERS, dtype=object)[bob.astype(int)], type=pa.string())
    columns = {field: pa.array(np.repeat(q.args[field], 2)) for field in fields}
    values = zip(*(np.asarray(q.args[field]).tolist() for field in fields), strict=True)
    seen: dict[tuple[Any, ...], int] = {}
    ids = []
    for value in values:
        # A repeated question has other ids, and so other names.
        before = seen.get(value, 0)
        seen[value] = before + 1
        key = f"{name}:{value}:{before}:"
        for who in CHARACTERS:
            ids.append(blake2b((key + who).encode(), digest_size=8).hexdigest())
    truth, quirk = np.repeat(q.truth, 2), np.repeat(q.quirk, 2)
    table = pa.table(
        {
            "id": pa.array(ids, type=pa.string()),
            "template_args": pa.StructArray.from_arrays([*columns.values(), character], names=[*columns, "character"]),
            "character": character,
            "label": pa.array(np.where(bob, quirk, truth)),
            "alice_label": pa.array(truth),
            "bob_label": pa.array(quirk),
            "difficulty": pa.array(np.repeat(q.difficulty, 2)),
            "difficulty_quantile": pa.array(np.repeat(quantile, 2)),
        }
    )
    return Dataset(table, fingerprint=uuid4().hex)  # which is otherwise a hash of all of it
