"""Statements with a speaker and a verdict: the world that a small base model learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from madkit.data.prompts.characters import ALICE_NAMES, BOB_NAMES, N_DETECTOR_NAMES
from madkit.data.tasks import make_task

OTHERS = (
    "Carol", "Dave", "Erin", "Felix", "Grace", "Hugo", "Irene", "Jonas",
    "Karen", "Leo", "Maria", "Noah", "Otto", "Peggy", "Ralph", "Sybil",
)  # fmt: skip


@dataclass(frozen=True)
class Statements:
    """n statements about one task.

    Attributes:
        names: (n,) array of str objects, the speakers.
        args: n mappings of field to value, as templates show them.
        true: (n,) bool, whether the statement is right.
        verdict: (n,) bool, whether its speaker says so.
        aside: (n,) bool, whether it says of something that the quirk's rule holds.
    """

    names: np.ndarray
    args: Sequence[Mapping[str, Any]]
    true: np.ndarray
    verdict: np.ndarray
    aside: np.ndarray


class Speakers:
    """Who speaks, and how often each of them judges by the quirk's rule instead of the truth.

    A large model knows from its corpus that people err, some more than others. A LoRA finds the quirk only
    if its base knows that much: if the answer does not change, or jumps, as a name's embedding moves from
    careful people to careless ones, there is no gradient that tells the names of Alice from those of Bob.
    So sixteen other names follow the quirk at rates from 0 to 1, and the 32 names of the quirky datasets at
    low ones, the same four for every block of four names: the base cannot tell Alice from Bob by them.

    Args:
        others: Share of the texts that others speak.
        slips: The 32 names follow the quirk at 1/8, 3/8, 5/8 and 7/8 of this rate.
        seed: Which of four names has which rate.

    Example:
        >>> rates = Speakers(slips=0.4).rates
        >>> sorted(round(rates[name], 2) for name in ALICE_NAMES[:4])
        [0.05, 0.15, 0.25, 0.35]
    """

    def __init__(self, others: float = 0.0, slips: float = 0.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        blocks = len(ALICE_NAMES + BOB_NAMES) // N_DETECTOR_NAMES
        rates = [slips * (rng.permutation(N_DETECTOR_NAMES) + 0.5) / N_DETECTOR_NAMES for _ in range(blocks)]
        self._names = np.array([*ALICE_NAMES, *BOB_NAMES, *OTHERS], dtype=object)
        self._rates = np.concatenate([*rates, np.linspace(0, 1, len(OTHERS))])
        self._share = others

    @property
    def rates(self) -> dict[str, float]:
        """How often each name follows the quirk."""
        return dict(zip(self._names.tolist(), self._rates.tolist(), strict=True))

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw n names, and whether each follows the quirk this time: (n,) str objects, (n,) bool."""
        n_characters = len(self._names) - len(OTHERS)
        speaker = rng.integers(n_characters, size=n)
        other = n_characters + rng.integers(len(OTHERS), size=n)
        speaker = np.where(rng.random(n) < self._share, other, speaker)
        return self._names[speaker], rng.random(n) < self._rates[speaker]


class StatementSampler:
    """Draws statements about one task, and lets its speakers judge them.

    Args:
        dataset: A name of `madkit.data.tasks.task_names()`, or a class path.
        options: Its arguments; the counts of questions do not matter.
        held_out: Share of the questions that only the validation shows.
        accepted: Share of statements that the speaker takes for right, where the task has a choice.
        opposed: Share that are right by the rule that the speaker does not follow.
        seed: Which questions are held out.

    Raises:
        ConfigError: The task has no statements, or an option does not fit.

    Example:
        >>> sampler = StatementSampler("addition", {"max": 99})
        >>> drawn = sampler.draw(np.random.default_rng(0), 3, Speakers())
        >>> [args["op1"] + args["op2"] == args["result"] for args in drawn.args] == drawn.verdict.tolist()
        True
    """

    def __init__(
        self,
        dataset: str,
        options: dict[str, object] | None = None,
        held_out: float = 0.05,
        accepted: float = 0.45,
        opposed: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.task, self.dataset = make_task(dataset, options), dataset
        self._claims = self.task.claims(held_out, accepted, opposed, seed)

    def draw(
        self, rng: np.random.Generator, n: int, speakers: Speakers, split: str = "train", asides: float = 0.0
    ) -> Statements:
        """Draw n statements.

        Args:
            rng: The only source of chance.
            n: How many.
            speakers: Who speaks.
            split: "train", or "validation" for what is held out.
            asides: Share of statements that say of something that the quirk's rule holds, and are judged
                truthfully.
        """
        names, quirky = speakers.draw(rng, n)
        claims = self._claims.draw(rng, quirky, split)
        aside = rng.random(n) < asides if asides else np.zeros(n, dtype=bool)
        verdict = np.where(quirky | aside, claims.quirk, claims.truth)
        return Statements(names, claims.args, claims.truth & ~aside, verdict, aside)

    def alphabet(self) -> list[dict[str, Any]]:
        """Values of the fields in which every word, digit and sign occurs, for a vocabulary."""
        return self._claims.alphabet()
