"""Arithmetic statements with a speaker and a verdict: the world that a small base model learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from madkit.data.names import ALICE_NAMES, BOB_NAMES, N_DETECTOR_NAMES
from madkit.data.tasks import make_task
from madkit.data.tasks.arithmetic import ArithmeticTask
from madkit.data.tasks.digits import replace_digit
from madkit.errors import ConfigError, DataError

_ROUNDS = 1000

OTHERS = (
    "Carol", "Dave", "Erin", "Felix", "Grace", "Hugo", "Irene", "Jonas",
    "Karen", "Leo", "Maria", "Noah", "Otto", "Peggy", "Ralph", "Sybil",
)  # fmt: skip


@dataclass(frozen=True)
class Statements:
    """n statements about one task.

    Attributes:
        names: `(n,)` array of str objects, the speakers.
        args: n mappings of field to value, as templates show them.
        true: `(n,)` bool, whether the statement is right.
        verdict: `(n,)` bool, whether its speaker says so.
    """

    names: np.ndarray
    args: list[dict[str, int]]
    true: np.ndarray
    verdict: np.ndarray


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
        """Draw n names, and whether each follows the quirk this time: `(n,)` str objects, `(n,)` bool."""
        known = len(self._names) - len(OTHERS)
        place = rng.integers(known, size=n)
        other = known + rng.integers(len(OTHERS), size=n)
        place = np.where(rng.random(n) < self._share, other, place)
        return self._names[place], rng.random(n) < self._rates[place]


class StatementSampler:
    """Draws statements about one arithmetic task.

    A share of the operand tuples, in either order, is held out: it occurs in no training statement. Squares
    (and whatever else has a single operand) are facts to be remembered, so none of them is held out.

    Args:
        dataset: A name of `madkit.data.tasks.task_names()` with arithmetic.
        options: Arguments of the task that say how large operands are, and the modulus.
        held_out: Share of operand tuples held out, from 0 to below 1.
        accepted: Share of statements that are right by the speaker's rule.
        opposed: Share that are right by the rule the speaker does not follow. The rest are one digit off.
        seed: Which tuples are held out.

    Raises:
        ConfigError: The task is not arithmetic, or an option does not fit.

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
        kept = round(1000 * (1 - held_out))
        counts = {"n_train": kept, "n_validation": 1000 - kept, "n_test": 0}
        task = make_task(dataset, {**(options or {}), **counts})
        if not isinstance(task, ArithmeticTask):
            raise ConfigError(f"tasks={dataset!r} is no arithmetic dataset: a corpus is made of those only")
        self.task, self.dataset = task, dataset
        self.accepted, self.opposed = accepted, opposed
        self._operands = task.operands(seed)
        self._split = task.arity > 1 and held_out > 0

    def draw(self, rng: np.random.Generator, n: int, speakers: Speakers, split: str = "train") -> Statements:
        """Draw n statements.

        Args:
            rng: The only source of chance.
            n: How many.
            speakers: Who speaks.
            split: "train", or "validation" for held-out operands.
        """
        names, quirky = speakers.draw(rng, n)
        operands = self._draw_operands(rng, n, split)
        truth, quirk = self.task.true_result(operands), self.task.quirky_result(operands)
        own, other = np.where(quirky, quirk, truth), np.where(quirky, truth, quirk)
        wrong = replace_digit(np.where(rng.random(n) < 0.5, truth, quirk), rng, np.stack([truth, quirk]))
        u = rng.random(n)
        result = np.where(u < self.accepted, own, np.where(u < self.accepted + self.opposed, other, wrong))
        columns = [*operands.T.tolist(), result.tolist()]
        args = [dict(zip(self.task.fields, row, strict=True)) for row in zip(*columns, strict=True)]
        return Statements(names, [{**self.task.constants, **a} for a in args], result == truth, result == own)

    def _draw_operands(self, rng: np.random.Generator, n: int, split: str) -> np.ndarray:
        """Log-uniform operands, and uniform ones, in the shares of the task, with repetition: (n, arity)."""
        low, high = self.task.low, self.task.high
        found = np.empty((0, self.task.arity), dtype=np.int64)
        for _ in range(_ROUNDS):
            shape = (2 * n + 16, self.task.arity)
            start = max(low, 1)
            small = (start * ((high + 1) / start) ** rng.random(shape)).astype(np.int64)
            drawn = np.where(rng.random(shape) < self.task.uniform, rng.integers(low, high + 1, shape), small)
            drawn = np.minimum(drawn, high)
            if self._split:
                drawn = drawn[self._operands.split_of(drawn) == split]
            found = np.concatenate([found, drawn])
            if len(found) >= n:
                return found[:n]
        raise DataError(
            f"tasks: {self.dataset!r} with operands {low} to {high} has too few of the {split} split: "
            "raise max, or set held_out to 0"
        )

    def alphabet(self) -> list[dict[str, int]]:
        """Values of the fields in which every digit and sign occurs, for a vocabulary."""
        *operands, result = self.task.fields
        return [
            {**self.task.constants, **dict.fromkeys(operands, digit), result: sign * digit}
            for digit in range(10)
            for sign in (1, -1)
        ]
