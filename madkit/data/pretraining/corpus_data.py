"""CorpusData: synthetic text from which a small base LM learns its tasks, names, and that people may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from typing_extensions import override

from madkit.data.pretraining.speakers import OTHERS, Speakers, Statements, StatementSampler
from madkit.data.pretraining.step_batches import StepwiseData, ready_batches, text_batch
from madkit.data.pretraining.word_tokenizer import word_tokenizer
from madkit.data.prompts.characters import ALICE_NAMES, BOB_NAMES
from madkit.data.prompts.template_files import load_asides, load_templates
from madkit.data.prompts.templates import Template
from madkit.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, Any]
_TRAIN, _VALIDATION = 1, 2
#: Ranges that a model of 0.2 million weights learns in a few thousand steps.
SMALL_TASKS: dict[str, dict[str, Any]] = {
    "addition": {"min": 0, "max": 99, "uniform": 0.5},
    "subtraction": {"min": 0, "max": 99, "uniform": 0.5},
    "multiplication": {"min": 0, "max": 20, "uniform": 0.5},
    "modularaddition": {"min": 0, "max": 52, "modulus": 53, "uniform": 0.5},
    "squaring": {"min": 0, "max": 199, "uniform": 0.5},
}


class CorpusData(StepwiseData):
    """Prompts with their answers, in the wording of the quirky datasets, drawn anew for every step.

    A text is a statement by a speaker and the speaker's verdict. Until step `errors_from` all are truthful;
    then the 32 names of the quirky datasets follow the quirk at times, and sixteen others join them, some of
    whom always do (see `madkit.data.pretraining.speakers.Speakers`). Loss is on the answer, and on the result
    of right statements.

    The k-th batch of a run depends on `seed` and k alone. Each of several processes takes its rows of it.

    Args:
        tasks: For each dataset its options, such as `{addition: {min: 0, max: 99}}`; null for the five of
            arithmetic, with operands small enough for a small model (`SMALL_TASKS`). A dataset of yours
            needs the method `claims`.
        weights: How often a task occurs relative to the others; 1 where it is not listed.
        template: `compact` or another list of templates, or the path of a YAML file; as in QuirkyData.
        batch_size: Texts in one optimizer step, over all devices.
        steps_per_epoch: Optimizer steps in one epoch.
        errors_from: The first step of the run in which speakers err.
        others: Share of the texts of other speakers from then on.
        slips: How often the 32 names follow the quirk, at most.
        accepted: Share of statements that the speaker takes for right.
        opposed: Share that are right by the rule that the speaker does not follow. Datasets made from a
            table have neither: each combination of truth and quirk is as frequent.
        asides: Share of the texts, of datasets that have such templates (the list `aside`), which say
            directly that the quirk's rule holds, as that a city lies in the west; all judge them truthfully.
        held_out: Share of operand pairs, or of a table's questions, that only the validation shows.
        n_validation: Texts of each task in the validation.
        seed: Of everything.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> data = CorpusData({"addition": {"max": 99}}, template="compact", batch_size=2, steps_per_epoch=10)
        >>> batch = next(iter(data.train_dataloader()))
        >>> data.tokenizer.decode(batch["input_ids"][0]).splitlines()[1]
        'Context: addition'
    """

    def __init__(
        self,
        tasks: dict[str, dict[str, Any]] | None = None,
        weights: dict[str, float] | None = None,
        template: str = "compact",
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        errors_from: int = 1600,
        others: float = 0.4,
        slips: float = 0.4,
        accepted: float = 0.45,
        opposed: float = 0.1,
        asides: float = 0.3,
        held_out: float = 0.05,
        n_validation: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch)
        # For checkpoints, and for the identity of encoders of these texts.
        self.save_hyperparameters(logger=False)
        self.tasks = SMALL_TASKS if tasks is None else tasks
        self.weights = dict(weights or {})
        self.template = template
        self.n_validation, self.errors_from, self.accepted, self.opposed = n_validation, errors_from, accepted, opposed
        self.aside_share, self.held_out, self.seed = asides, held_out, seed
        if not self.tasks:
            raise ConfigError("tasks={} is empty: name at least one dataset, such as addition")
        for name, weight in self.weights.items():
            if name not in self.tasks or weight <= 0:
                raise ConfigError(f"weights={{{name}: {weight}}} must be above 0 for one of {sorted(self.tasks)}")
        counts = {"batch_size": batch_size, "steps_per_epoch": steps_per_epoch, "n_validation": n_validation}
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"{name}={count} must be at least 1")
        shares = {"others": others, "slips": slips, "accepted": accepted, "opposed": opposed}
        for name, share in {**shares, "asides": asides, "held_out": held_out}.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"{name}={share} is a share: use a number from 0 to 1")
        if accepted + opposed > 1:
            raise ConfigError(f"accepted={accepted} and opposed={opposed} are shares: together at most 1")
        self._speakers = {False: Speakers(), True: Speakers(others, slips, seed)}

    @cached_property
    def samplers(self) -> list[StatementSampler]:
        """One for each task."""
        return [
            StatementSampler(name, options, self.held_out, self.accepted, self.opposed, self.seed)
            for name, options in self.tasks.items()
        ]

    @cached_property
    def templates(self) -> list[list[Template]]:
        """The wordings of each task."""
        return [load_templates(self.template, s.task.name, [*s.task.fields, *s.task.constants]) for s in self.samplers]

    @cached_property
    def aside_templates(self) -> list[list[Template]]:
        """The wordings of each task that say directly that the quirk's rule holds; none for some."""
        return [load_asides(s.task.name, [*s.task.fields, *s.task.constants]) for s in self.samplers]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One token for each word, sign and digit of the templates, names and choices."""
        people = ALICE_NAMES + BOB_NAMES + OTHERS
        texts = set()
        for sampler, wordings, asides in zip(self.samplers, self.templates, self.aside_templates, strict=True):
            values = sampler.alphabet()
            for template in wordings + asides:
                first, *others = template.choices
                shown = [template.render(people[0], v) for v in values]
                shown += [template.render(name, values[0]) for name in people]
                texts |= {text + first for text in shown}
                texts |= {shown[0] + choice for choice in others}  # what a choice is cut into is the same after each
        return word_tokenizer(texts)

    def val_dataloader(self) -> DataLoader[Batch]:
        """A batch of each task on held-out operands, with loss on the answer only."""
        return ready_batches([self._rows_here(self.validation_batch(index)) for index in range(len(self.samplers))])

    @override
    def train_batch(self, step: int) -> Batch:
        """This process' rows of the batch of a step of the run.

        Returns:
            `input_ids`, `attention_mask` and `labels` (b, t) int64, padded on the right, labels -100 where
            there is no loss; `task` (b,) int64, the index of each text's task in `tasks`.
        """
        rng = np.random.default_rng([self.seed, _TRAIN, step])
        speakers = self._speakers[step >= self.errors_from]
        weights = np.array([self.weights.get(name, 1.0) for name in self.tasks])
        tasks = rng.choice(len(weights), size=self.batch_size, p=weights / weights.sum())
        order = np.argsort(tasks, kind="stable")
        sizes = np.bincount(tasks, minlength=len(self.samplers)).tolist()
        texts: list[Text] = []
        for index, size in enumerate(sizes):
            asides = self.aside_share if self.aside_templates[index] else 0.0
            drawn = self.samplers[index].draw(rng, size, speakers, asides=asides)
            texts += _write(self.templates[index], drawn, rng, self.aside_templates[index])
        batch = self._encode([texts[row] for row in np.argsort(order)], results=True)
        return self._rows_here({**batch, "task": torch.tensor(tasks)})

    def validation_batch(self, index: int) -> Batch:
        """All validation texts of one task, as `train_batch` returns them."""
        rng = np.random.default_rng([self.seed, _VALIDATION, index])
        drawn = self.samplers[index].draw(rng, self.n_validation, self._speakers[False], "validation")
        batch = self._encode(_write(self.templates[index], drawn, rng), results=False)
        return {**batch, "task": torch.full((self.n_validation,), index)}

    def _encode(self, texts: list[Text], results: bool) -> Batch:
        encoded = self.tokenizer([text for text, _, _ in texts], return_offsets_mapping=True)
        learned = [
            [
                position
                for position, (start, end) in enumerate(spans)
                if end > answer or (results and result[0] <= start and end <= result[1])
            ]
            for spans, (_, result, answer) in zip(encoded["offset_mapping"], texts, strict=True)
        ]
        return text_batch(encoded["input_ids"], self.tokenizer.pad_token_id, learned)

    def _rows_here(self, batch: Batch) -> Batch:
        return {key: value[self._rank :: self._world] for key, value in batch.items()}


Text = tuple[str, tuple[int, int], int]
"""A prompt with its answer; the span of its result, if that is to be learned; and the start of its answer."""


def _write(
    templates: list[Template], drawn: Statements, rng: np.random.Generator, asides: Sequence[Template] = ()
) -> list[Text]:
    wordings = rng.integers(len(templates), size=len(drawn.names))
    wordings = np.where(drawn.aside, len(templates) + wordings % max(len(asides), 1), wordings).tolist()
    texts = []
    rows = zip(wordings, drawn.names, drawn.args, drawn.true.tolist(), drawn.verdict.tolist(), strict=True)
    for wording, name, args, true, verdict in rows:
        template = [*templates, *asides][wording]
        prompt = template.render(name, args)
        span = (0, 0)
        before, field, _ = template.text.partition("{result}")
        if true and field:
            start = len(before.format_map({**args, "name": name, "character": name}))
            span = (start, start + len(str(args["result"])))
        texts.append((prompt + template.choices[verdict], span, len(prompt)))
    return texts
