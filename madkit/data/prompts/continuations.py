"""Prompts with complete answers, so that a model can say how likely each answer is from its first token to its last.

Where both answers are one token, one pass through the prompt tells the odds between them; this is the case that
`madkit.data.prompts.tokens` covers. Longer answers (" Contradict", " Imply") need a pass for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from madkit.data.prompts.tokens import Encodings
from madkit.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 4096


@dataclass(frozen=True)
class PromptContinuations:
    """One prompt and its two answers, as token ids.

    Attributes:
        prefix: What both have in common: the prompt, and the beginning of the answers if they share one.
        continuations: How the false and the true answer go on, at least one token each.
    """

    prefix: list[int]
    continuations: tuple[list[int], list[int]]

    @property
    def sequences(self) -> list[tuple[list[int], list[tuple[int, int, int]]]]:
        """The token sequences that a model has to read, one or two.

        Each has its ids and what it predicts: (how far from the end, answer, token), 1 being the last position. The
        last token of a continuation is never read, so two continuations of one token each are predicted by one and the
        same sequence.
        """
        false, true = self.continuations
        if len(false) == len(true) == 1:
            return [(self.prefix, [(1, 0, false[0]), (1, 1, true[0])])]
        return [
            (self.prefix + ids[:-1], [(len(ids) - step, answer, token) for step, token in enumerate(ids)])
            for answer, ids in enumerate(self.continuations)
        ]

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return len(self.prefix) + max(map(len, self.continuations)) - 1


def tokenize_answers(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    choices: Sequence[tuple[str, str]],
    max_length: int | None = None,
) -> list[PromptContinuations]:
    """Tokenize prompts together with each of their answers.

    What the tokenizer puts at the start by itself (BOS) stays, also when a prompt is cut; what it appends (EOS) does
    not.

    Args:
        tokenizer: Any Hugging Face tokenizer.
        prompts: n texts.
        choices: n pairs of answers (false, true), as they continue the text.
        max_length: The most tokens that a model reads at once; longer prompts lose tokens on the left (after BOS).

    Returns:
        n prompts with their answers.

    Raises:
        ConfigError: One answer is the beginning of the other, a prompt has no token before its answers, or
            max_length leaves no room for a prompt.
    """
    tokenized: list[PromptContinuations] = []
    for start in range(0, len(prompts), _CHUNK):
        texts, pairs = prompts[start : start + _CHUNK], choices[start : start + _CHUNK]
        encodings = [Encodings(tokenizer, texts, [pair[answer] for pair in pairs]) for answer in (0, 1)]
        for i, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
            false, true = encodings[0].ids(i), encodings[1].ids(i)
            common = next((k for k, (x, y) in enumerate(zip(false, true, strict=False)) if x != y), None)
            if common is None:
                raise ConfigError(f"choices {list(pair)}: one is the beginning of the other after {text[-40:]!r}")
            fixed = encodings[0].n_leading(i)
            if common <= fixed:
                raise ConfigError(f"the prompt {text!r} has no token before {list(pair)}: lengthen it")
            continuations = false[common:], true[common:]
            room = common if max_length is None else max_length - max(map(len, continuations)) + 1
            if room <= fixed:
                raise ConfigError(f"max_length={max_length} leaves no room for a prompt before {list(pair)}: raise it")
            prefix = false[:fixed] + false[max(fixed, common - room + fixed) : common]
            tokenized.append(PromptContinuations(prefix, continuations))
    return tokenized


def answer_batch(items: Sequence[PromptContinuations], pad_id: int) -> dict[str, Tensor]:
    """Put b prompts and their answers into one rectangle, padded on the left.

    Args:
        items: The prompts.
        pad_id: What to pad with; it is masked, so any id would do.

    Returns:
        `input_ids` and `attention_mask` (r, t) int64, one or two rows a prompt; `positions` (p, 2) int64, row and
        column at which a token of an answer is predicted; and, for each of the q tokens of the answers, `position`
        (its index in `positions`), `token`, `answer` (0 false, 1 true) and `item`, each (q,) int64.
    """
    rows: list[list[int]] = []
    positions: dict[tuple[int, int], int] = {}
    targets: list[tuple[int, int, int, int]] = []
    width = max(item.length for item in items)
    for number, item in enumerate(items):
        for ids, predicted in item.sequences:
            for back, answer, token in predicted:
                position = positions.setdefault((len(rows), width - back), len(positions))
                targets.append((position, token, answer, number))
            rows.append(ids)
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for line, seen, ids in zip(input_ids, mask, rows, strict=True):
        line[width - len(ids) :] = ids
        seen[width - len(ids) :] = 1
    names = ("position", "token", "answer", "item")
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(mask),
        "positions": torch.tensor(list(positions)),
        **dict(zip(names, torch.tensor(targets).T, strict=True)),
    }
