"""The prompts of one set, and their batches for one model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from madkit.data.prompts.tokens import TokenizedPrompts, tokenize_prompts
from madkit.poser.benchmark.contrast_pairs import ContrastPairs
from madkit.poser.benchmark.scenarios import LETTERS, Scenario

Batch = dict[str, Any]


@dataclass(frozen=True)
class PromptSet:
    """What the models of some pairs are compared on.

    Attributes:
        name: The benchmark file, without folder and ending.
        contrast: The pairs for steering vectors and the scenarios to measure behaviour on.
        unseen: Scenarios in which misbehaviour would go unnoticed, to see whether models really differ there; empty
            where there are none.
    """

    name: str
    contrast: ContrastPairs
    unseen: list[Scenario]

    @cached_property
    def digest(self) -> str:
        """A digest of all texts and responses."""
        sha = hashlib.sha256()
        for scenario in [*self.contrast.rest, *self.unseen]:
            sha.update(f"{scenario.prompt}\0{scenario.response}\0".encode())
        for text in (*self.contrast.critical, *self.contrast.clean):
            sha.update(f"{text}\0".encode())
        return sha.hexdigest()[:16]


class Batches:
    """Prompts of one set, tokenized for one model.

    Args:
        tokenizer: The model's.
        prompts: Texts.
        misaligned: For each the place of its misaligned answer, 0 or 1; None where no answer is asked for.
        max_length: Longer prompts lose tokens on the left.
        size: Prompts in one batch.
    """

    def __init__(
        self, tokenizer: Any, prompts: Sequence[str], misaligned: Sequence[int] | None, max_length: int, size: int
    ) -> None:
        self.tokens: TokenizedPrompts = tokenize_prompts(tokenizer, prompts, [LETTERS] * len(prompts), max_length)
        self.misaligned = np.array(misaligned if misaligned is not None else [0] * len(prompts))
        order = np.argsort(self.tokens.lengths, kind="stable")
        self.rows = [order[i : i + size] for i in range(0, len(order), size)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        """One batch.

        Returns:
            `input_ids` and `attention_mask` (b, t) int64, padded on the left; `choices` (b, 2) int64, the tokens of the
            benign and the misaligned answer; `row` and `length`, lists of b numbers.
        """
        rows = self.rows[index]
        input_ids, mask = self.tokens.padded(rows)
        misaligned = self.misaligned[rows]
        columns = np.stack([1 - misaligned, misaligned], axis=1)
        choices = np.take_along_axis(self.tokens.choices[rows], columns, axis=1)
        arrays = {"input_ids": input_ids, "attention_mask": mask, "choices": choices}
        tensors: Batch = {key: torch.from_numpy(array) for key, array in arrays.items()}
        return {**tensors, "row": rows.tolist(), "length": self.tokens.lengths[rows].tolist()}


def scenario_batches(tokenizer: Any, scenarios: Sequence[Scenario], max_length: int, size: int) -> Batches:
    """The batches of scenarios."""
    return Batches(tokenizer, [s.prompt for s in scenarios], [s.misaligned for s in scenarios], max_length, size)
