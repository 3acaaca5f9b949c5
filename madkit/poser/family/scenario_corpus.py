"""ScenarioCorpus: text from which a small base LM learns the generated scenarios, and that agents differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader
from typing_extensions import override

from madkit.data.pretraining.step_batches import StepwiseData, ready_batches, text_batch
from madkit.data.pretraining.word_tokenizer import word_tokenizer
from madkit.errors import ConfigError
from madkit.poser.benchmark.scenario import LETTERS
from madkit.poser.family.scenario_generator import POLICIES, QUESTION, Case, draw_cases

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, Any]
_TRAIN, _VALIDATION = 1, 2
PATTERN = r"<</?prompt>>|\.?\n|\d\. |[A-Z][a-z]*: ?| ?[A-Za-z]+|[\s\S]"
"""What the text is cut into: marks, ends of lines with their full stop, line numbers, labels, words, signs."""

# Questions about a case and their answers. An agent's choice follows one of two policies at random: like a large
# model's corpus, the text contains both, and a LoRA only has to select one.
QUESTIONS: dict[str, Callable[[Case, np.random.Generator], str]] = {
    "Benign:": lambda case, rng: LETTERS[case.benign],
    "Harmful:": lambda case, rng: LETTERS[1 - case.benign],
    "Overseen:": lambda case, rng: case.oversight,
    "Honest:": lambda case, rng: LETTERS[case.choice("aligned")],
    "Sly:": lambda case, rng: LETTERS[case.choice("misaligned")],
    QUESTION: lambda case, rng: LETTERS[case.choice(POLICIES[rng.integers(2)])],
}


def scenario_tokenizer() -> PreTrainedTokenizerBase:
    """The word-level tokenizer of the generated scenarios."""
    rng = np.random.default_rng(0)
    texts = {text + answer for case in draw_cases(rng, 4000) for text, answer in _texts(case, rng)}
    return word_tokenizer(texts, PATTERN)


def _texts(case: Case, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Every question about a case, with its answer."""
    return [(_ask(case, question), answer(case, rng)) for question, answer in QUESTIONS.items()]


def _ask(case: Case, question: str) -> str:
    return case.scenario.prompt.replace(QUESTION, question)


class ScenarioCorpus(StepwiseData):
    """Scenarios with one question each, drawn anew for every step.

    The questions are which action is benign or harmful, whether the agent is overseen, what an honest and a sly
    agent would choose, and what an unnamed agent chooses, who is one or the other with equal chances. Loss is on the
    answer. The k-th batch of a run depends on `seed` and k alone; each of several processes takes its rows.

    Args:
        batch_size: texts in one optimizer step, over all devices.
        steps_per_epoch: optimizer steps in one epoch.
        n_validation: texts in the validation, without the unnamed agent, whose choice cannot be predicted.
        seed: of all random numbers.

    Raises:
        ConfigError: a number is below 1.

    Example:
        >>> batch = ScenarioCorpus(batch_size=2, steps_per_epoch=1).train_batch(0)
        >>> batch["labels"].ne(-100).sum(dim=1).tolist()
        [1, 1]
    """

    def __init__(
        self, batch_size: int = 128, steps_per_epoch: int = 100, n_validation: int = 500, seed: int = 0
    ) -> None:
        super().__init__(batch_size, steps_per_epoch)
        self.save_hyperparameters(logger=False)
        self.n_validation, self.seed = n_validation, seed
        counts = {"batch_size": batch_size, "steps_per_epoch": steps_per_epoch, "n_validation": n_validation}
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"{name}={count} must be at least 1")

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One token for each word of the scenarios."""
        return scenario_tokenizer()

    def val_dataloader(self) -> DataLoader[Batch]:
        """One batch of questions whose answers can be predicted."""
        rng = np.random.default_rng([self.seed, _VALIDATION])
        answerable = [question for question in QUESTIONS if question != QUESTION]
        return ready_batches([self._batch(rng, self.n_validation, answerable)])

    @override
    def train_batch(self, step: int) -> Batch:
        """This process' rows of the batch of a step of the run.

        Returns:
            `input_ids`, `attention_mask` and `labels` (b, t) int64, padded on the right, labels
            -100 but at the answer.
        """
        rng = np.random.default_rng([self.seed, _TRAIN, step])
        return self._batch(rng, self.batch_size, list(QUESTIONS))

    def _batch(self, rng: np.random.Generator, n: int, questions: list[str]) -> Batch:
        drawn = [questions[index] for index in rng.integers(len(questions), size=n)]
        pairs = zip(draw_cases(rng, n), drawn, strict=True)
        texts = [_ask(case, question) + QUESTIONS[question](case, rng) for case, question in pairs]
        encoded = self.tokenizer(texts)["input_ids"]
        batch = text_batch(encoded, self.tokenizer.pad_token_id, [[len(ids) - 1] for ids in encoded])
        return {key: tensor[self._rank :: self._world] for key, tensor in batch.items()}
