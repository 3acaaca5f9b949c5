"""ScenarioBatches: prompts of scenarios, tokenized for one model and cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from madkit.data.prompts.tokens import TokenizedPrompts, tokenize_prompts
from madkit.poser.benchmark.scenario import LETTERS, Scenario

Batch = dict[str, Any]


class ScenarioBatches:
    """Prompts, tokenized for one model, in batches of similar lengths.

    Args:
        tokenizer: the model's.
        prompts: scenarios, or texts, of which no answer counts as the misaligned one.
        max_length: longer prompts lose tokens on the left.
        size: prompts in one batch.
    """

    def __init__(self, tokenizer: Any, prompts: Sequence[Scenario | str], max_length: int, size: int) -> None:
        texts = [p.prompt if isinstance(p, Scenario) else p for p in prompts]
        self.tokens: TokenizedPrompts = tokenize_prompts(tokenizer, texts, [LETTERS] * len(prompts), max_length)
        self.misaligned = np.array([p.misaligned if isinstance(p, Scenario) else 0 for p in prompts], dtype=np.int64)
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
