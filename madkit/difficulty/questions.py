"""Records become questions: each once, without a speaker, perhaps after a few answered ones as demonstrations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from madkit.data.prompts.templates import Template, draw_templates
from madkit.data.records.columns import flat_frame, question_of, template_args
from madkit.errors import DataError
from madkit.runs.fingerprints import digest
from madkit.statistics.hashing import stable_hash

if TYPE_CHECKING:
    from datasets import DatasetDict

#: How many answered questions demonstrations are drawn from, half of them true.
POOL_SIZE = 50


@dataclass(frozen=True)
class QuestionSet:
    """The questions of some records.

    Attributes:
        table: One row a question, the longest prompt first: `row` (0, 1, ...), `key`, `prompt`, `choices` (false, true)
            and `truth` (bool).
        rows: For each split the row in `table` of each of its records, (n,) int64.
    """

    table: pd.DataFrame
    rows: dict[str, np.ndarray]

    def digest(self) -> str:
        """A digest of all prompts with their answers; the order of the records plays no part."""
        return digest(self.table[["prompt", "choices", "truth"]].to_json(orient="values"))


def collect_questions(
    records: DatasetDict,
    templates: Sequence[Template],
    constants: Mapping[str, Any] | None = None,
    name: str | None = None,
    shots: int = 0,
    seed: int = 0,
) -> QuestionSet:
    """Make the prompt of every question, once.

    Records whose `template_args` differ in the speaker alone, and that have one truth, are one question. With several
    templates each question draws one by its content. Demonstrations are questions of the train split (of the first one
    where there is none) with their true answers, in the question's template: each question draws `shots` from a
    pool of 50, as many true as false ones (which of them has one more if `shots` is odd is drawn too), never itself.

    Args:
        records: Checked records.
        templates: Wordings.
        constants: Values that are the same in all prompts.
        name: The speaker, where a template names one.
        shots: Demonstrations before each question.
        seed: Which draw of templates and demonstrations.

    Raises:
        DataError: A value is missing, or there are too few questions to demonstrate.
    """
    questions: dict[str, tuple[dict[str, Any], bool]] = {}
    keys: dict[str, list[str]] = {}
    pool: dict[str, bool] = {}
    first = "train" if "train" in records else next(iter(records))
    for split, dataset in records.items():
        truths = flat_frame(dataset)["alice_label"].tolist()
        keys[split] = []
        for args, truth in zip(template_args(dataset, np.arange(len(truths)), constants), truths, strict=True):
            key = _key(question_of(args), truth)
            questions[key] = args, truth
            keys[split].append(key)
            if split == first:
                pool[key] = truth
    ids = sorted(questions)
    demonstrations = _demonstrations(ids, pool, shots, seed)
    lines = []
    for key, template in zip(ids, draw_templates(templates, ids, seed), strict=True):
        parts = []
        for other in demonstrations[key]:
            args, truth = questions[other]
            parts.append(template.render(name or "", args) + template.choices[truth])
        args, truth = questions[key]
        prompt = "\n\n".join([*parts, template.render(name or "", args)])
        lines.append((key, prompt, template.choices, truth))
    table = pd.DataFrame(lines, columns=["key", "prompt", "choices", "truth"])
    # Long prompts first: where memory is short, that shows at once.
    order = np.lexsort((table["key"], -table["prompt"].str.len()))
    table = table.iloc[order].reset_index(drop=True)
    table.insert(0, "row", np.arange(len(table)))
    row = dict(zip(table["key"], table["row"], strict=True))
    return QuestionSet(table, {split: np.array([row[key] for key in keys[split]]) for split in keys})


def _key(question: str, truth: bool) -> str:
    return hashlib.blake2b(f"{question}:{bool(truth)}".encode(), digest_size=8).hexdigest()


def _demonstrations(ids: Sequence[str], pool: Mapping[str, bool], shots: int, seed: int) -> dict[str, list[str]]:
    """The questions that stand, with their answers, before each question."""
    if shots == 0:
        return {key: [] for key in ids}
    candidates = sorted(pool)
    order = np.array(candidates, dtype=object)[np.argsort(stable_hash(candidates, f"pool:{seed}"))]
    halves = [[key for key in order if pool[key] is truth][: POOL_SIZE // 2] for truth in (False, True)]
    # One more than are drawn, because the question itself may be among them.
    if min(map(len, halves)) < (needed := (shots + 1) // 2 + 1):
        raise DataError(
            f"shots={shots} needs {needed} false and {needed} true questions of the train split and at most "
            f"{POOL_SIZE // 2} are drawn from, but there are {len(halves[0])} and {len(halves[1])}: lower shots"
        )
    demonstrations = {}
    for key, number in zip(ids, stable_hash(ids, f"shots:{seed}").tolist(), strict=True):
        rng = np.random.default_rng(number)
        counts = [shots // 2, (shots + 1) // 2]
        rng.shuffle(counts)
        drawn: list[str] = []
        for half, count in zip(halves, counts, strict=True):
            drawn += rng.choice([other for other in half if other != key], count, replace=False).tolist()
        demonstrations[key] = [str(other) for other in rng.permutation(drawn)]
    return demonstrations
