"""Prompts with their whole answers, so that a model can say how likely each answer is from end to end.

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
class Answered:
    """One prompt and its two answers, as token ids.

    Attributes:
        prefix: What both have in common: the prompt, and the beginning of the answers if they share one.
        tails: How the false and the true answer go on, at least one token each.
    """

    prefix: list[int]
    tails: tuple[list[int], list[int]]

    @property
    def rows(self) -> list[tuple[list[int], list[tuple[int, int, int]]]]:
        """The token sequences that a model has to read, one or two.

        Each has its ids and what it predicts: (how far from the end, side, token), 1 being the last place. The last
        token of a tail is never read, so two tails of one token each are predicted by one and the same sequence.
        """
        false, true = self.tails
        if len(false) == len(true) == 1:
            return [(self.prefix, [(1, 0, false[0]), (1, 1, true[0])])]
        return [
            (self.prefix + tail[:-1], [(len(tail) - step, side, token) for step, token in enumerate(tail)])
            for side, tail in enumerate(self.tails)
        ]

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return len(self.prefix) + max(map(len, self.tails)) - 1


def tokenize_answers(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    choices: Sequence[tuple[str, str]],
    max_length: int | None = None,
) -> list[Answered]:
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
    made: list[Answered] = []
    for start in range(0, len(prompts), _CHUNK):
        texts, pairs = prompts[start : start + _CHUNK], choices[start : start + _CHUNK]
        sides = [Encodings(tokenizer, texts, [pair[side] for pair in pairs]) for side in (0, 1)]
        for i, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
            false, true = sides[0].ids(i), sides[1].ids(i)
            common = next((k for k, (x, y) in enumerate(zip(false, true, strict=False)) if x != y), None)
            if common is None:
                raise ConfigError(f"choices {list(pair)}: one is the beginning of the other after {text[-40:]!r}")
            fixed = sides[0].n_leading(i)
            if common <= fixed:
                raise ConfigError(f"the prompt {text!r} has no token of its own before {list(pair)}: lengthen it")
            tails = false[common:], true[common:]
            room = common if max_length is None else max_length - max(map(len, tails)) + 1
            if room <= fixed:
                raise ConfigError(f"max_length={max_length} leaves no room for a prompt before {list(pair)}: raise it")
            made.append(Answered(false[:fixed] + false[max(fixed, common - room + fixed) : common], tails))
    return made


def answer_batch(items: Sequence[Answered], pad_id: int) -> dict[str, Tensor]:
    """Put b prompts and their answers into one rectangle, padded on the left.

    Args:
        items: The prompts.
        pad_id: What to pad with; it is masked, so any id would do.

    Returns:
        `input_ids` and `attention_mask` `(r, t)` int64, one or two rows a prompt; `at` `(p, 2)` int64, row and column
        where an answer's token is predicted; `place`, `token`, `side` and `item`, each `(q,)` int64: the tokens of the
        answers, where in `at` each of them is predicted, and whose they are.
    """
    rows: list[list[int]] = []
    at: dict[tuple[int, int], int] = {}
    targets: list[tuple[int, int, int, int]] = []
    width = max(item.length for item in items)
    for number, item in enumerate(items):
        for ids, predicted in item.rows:
            for back, side, token in predicted:
                place = at.setdefault((len(rows), width - back), len(at))
                targets.append((place, token, side, number))
            rows.append(ids)
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for line, seen, ids in zip(input_ids, mask, rows, strict=True):
        line[width - len(ids) :] = ids
        seen[width - len(ids) :] = 1
    names = ("place", "token", "side", "item")
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(mask),
        "at": torch.tensor(list(at)),
        **dict(zip(names, torch.tensor(targets).T, strict=True)),
    }
