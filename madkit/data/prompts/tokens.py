"""Prompts become token ids, and the answers the ids of their first tokens *in the context of the prompt*.

Tokenizers merge: the token of " Yes" alone is not always the token of " Yes" after a question mark. Each
prompt is therefore tokenized with either choice behind it. The common beginning is the model's input, and the
first tokens that differ are the two answer tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from madkit.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 8192


@dataclass(frozen=True)
class TokenizedPrompts:
    """Token ids of n prompts, without padding.

    Attributes:
        ids: (total,) int32, the ids of all prompts one after another.
        starts: (n + 1,) int64, the index in `ids` at which each prompt begins.
        choices: (n, 2) int64, the answer tokens [false, true].
        pad_id: What to pad with; the padding is masked, so any id would do.
    """

    ids: np.ndarray
    starts: np.ndarray
    choices: np.ndarray
    pad_id: int

    def __len__(self) -> int:
        return len(self.choices)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt, (n,) int64."""
        return np.diff(self.starts)

    def select(self, rows: np.ndarray) -> TokenizedPrompts:
        """Some of the prompts, (k,) indices, in that order."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return TokenizedPrompts(self.ids[where], starts, self.choices[rows], self.pad_id)

    def by_length(self, rows: np.ndarray) -> np.ndarray:
        """The same indices, short prompts first, so that a batch needs little padding."""
        return rows[np.argsort(self.lengths[rows], kind="stable")]

    def padded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put prompts into a rectangle, padded on the left so that all end in the last column.

        Args:
            rows: (b,) indices of prompts.

        Returns:
            `input_ids` and `attention_mask`, both (b, t) int64, t the longest of them.
        """
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=0))
        input_ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        mask = np.arange(width)[None] >= (width - lengths)[:, None]
        for line, row in zip(input_ids, rows.tolist(), strict=True):
            ids = self.ids[self.starts[row] : self.starts[row + 1]]
            line[width - len(ids) :] = ids
        return input_ids, mask.astype(np.int64)


def joined(parts: Sequence[TokenizedPrompts]) -> TokenizedPrompts:
    """The prompts of several, all of one tokenizer, one after another."""
    lengths = np.concatenate([part.lengths for part in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids, choices = (np.concatenate(arrays) for arrays in zip(*((p.ids, p.choices) for p in parts), strict=True))
    return TokenizedPrompts(ids, starts, choices, parts[0].pad_id)


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    choices: Sequence[tuple[str, str]],
    max_length: int = 1024,
    speakers: Sequence[str] | None = None,
) -> TokenizedPrompts:
    """Tokenize prompts and find their answer tokens.

    What the tokenizer puts at the start by itself (BOS) stays, also when a prompt is cut; what it appends
    (EOS) does not.

    Args:
        tokenizer: Any Hugging Face tokenizer.
        prompts: n texts.
        choices: n pairs of answers (false, true), as they continue the text.
        max_length: Longer prompts lose tokens on the left (after BOS).
        speakers: n names, or whatever else decides the answer, which have to be left in a prompt that is cut; None
            where nothing has to.

    Raises:
        ConfigError: The two answers do not differ in their first token after the prompt, an answer adds no token, or
            one that the tokenizer does not know, so that the model could not tell them apart; or max_length cuts off
            who speaks.
    """
    if max_length < 2:
        raise ConfigError(f"max_length={max_length} leaves no room for a prompt: use at least 2")
    parts: list[list[int]] = []
    answers = np.empty((len(prompts), 2), dtype=np.int64)
    unknown, n_unknown = tokenizer.unk_token_id, 0
    voiceless: list[tuple[int, str, str]] = []
    for start in range(0, len(prompts), _CHUNK):
        texts, pairs = prompts[start : start + _CHUNK], choices[start : start + _CHUNK]
        sides = [Encodings(tokenizer, texts, [pair[side] for pair in pairs]) for side in (0, 1)]
        for i, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
            false, true = sides[0].ids(i), sides[1].ids(i)
            common = next((k for k, (x, y) in enumerate(zip(false, true, strict=False)) if x != y), None)
            told_apart = common is not None and not sides[0].reaches_answer(i, common)
            for side, ids, answer in zip(sides, (false, true), pair, strict=True):
                told = ids[common : common + 1] if common is not None and told_apart else side.of_answer(i, ids)[:1]
                if unknown is not None and unknown in told:
                    raise ConfigError(
                        f"choices {list(pair)}: {answer!r} becomes {tokenizer.unk_token!r}, as this tokenizer does not "
                        "know it: use answers of words that it knows"
                    )
            if common is None or not told_apart:
                raise ConfigError(
                    f"choices {list(pair)} begin with the same token after {text[-40:]!r}: use answers that "
                    "differ from their first token on, or move their leading space to the end of the template"
                )
            fixed = sides[0].n_leading(i)
            if common <= fixed:
                raise ConfigError(f"the prompt {text!r} has no token before {list(pair)}: lengthen it")
            first = max(fixed, common - max_length + fixed)
            if first > fixed and speakers is not None and speakers[start + i] not in sides[0].text_from(i, first):
                voiceless.append((common, text, speakers[start + i]))
            n_unknown += unknown is not None and unknown in false[fixed:common]
            parts.append(false[:fixed] + false[first:common])
            answers[start + i] = false[common], true[common]
    if voiceless:
        longest, text, name = max(voiceless)
        raise ConfigError(
            f"max_length={max_length} cuts {name!r}, which decides the answer, off {len(voiceless)} of "
            f"{len(prompts)} prompts, such as {text[:40]!r}: raise it to {longest}, or leave such questions out"
        )
    if n_unknown:
        different, left = len(set(prompts)), len({tuple(part) for part in parts})
        if 2 * left < different:
            raise ConfigError(
                f"the tokenizer knows so few words that {different} different prompts become {left}, as all others are "
                f"{tokenizer.unk_token!r} to it: take the tokenizer of the model, or prompts in its words"
            )
        rank_zero_warn(
            f"{n_unknown} of {len(prompts)} prompts hold words that the tokenizer does not know, and become "
            f"{tokenizer.unk_token!r}: the model cannot tell them apart"
        )
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    flat = np.fromiter(chain.from_iterable(parts), dtype=np.int32, count=int(starts[-1]))
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    return TokenizedPrompts(flat, starts, answers, int(pad))


class Encodings:
    """A batch of prompts with one of their answers behind them.

    Args:
        tokenizer: Any Hugging Face tokenizer.
        prompts: n texts.
        answers: n texts that continue them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], answers: Sequence[str]) -> None:
        self._encode: Callable[[list[str]], Any] = lambda texts: tokenizer(
            texts, return_attention_mask=False, return_special_tokens_mask=True, verbose=False
        )
        self._decode = tokenizer.decode
        self._prompts = prompts
        self._batch = self._encode([text + answer for text, answer in zip(prompts, answers, strict=True)])
        # Without offsets, the prompt alone says where the answer begins.
        self._has_offsets = bool(tokenizer.is_fast)

    def ids(self, i: int) -> list[int]:
        """All ids but those that the tokenizer appends."""
        ids, special = self._batch["input_ids"][i], self._batch["special_tokens_mask"][i]
        end = len(ids)
        while end and special[end - 1]:
            end -= 1
        return ids[:end]

    def n_leading(self, i: int) -> int:
        """How many ids the tokenizer puts in front."""
        special = self._batch["special_tokens_mask"][i]
        return special.index(0) if 0 in special else len(special)

    def of_answer(self, i: int, ids: list[int]) -> list[int]:
        """Those of the ids that hold a piece of the answer."""
        first = len(ids)
        while first and self.reaches_answer(i, first):
            first -= 1
        return ids[first:]

    def text_from(self, i: int, n: int) -> str:
        """What the prompt says from token n on."""
        if not self._has_offsets:
            return str(self._decode(self.ids(i)[n:]))
        span = self._batch.token_to_chars(i, n)
        return self._prompts[i][span.start :] if span is not None else ""

    def reaches_answer(self, i: int, n: int) -> bool:
        """Whether the first n tokens hold a piece of the answer already."""
        if n == 0:
            return False
        if not self._has_offsets:
            alone = self._encode([self._prompts[i]])
            return n > len(alone["input_ids"][0]) - sum(alone["special_tokens_mask"][0][self.n_leading(i) :])
        span = self._batch.token_to_chars(i, n - 1)
        return span is not None and span.end > len(self._prompts[i])
