"""QuestionData: questions in the tokens of one model, in shards, in batches of a limited number of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from madkit.data.distributed import RankAwareDataModule
from madkit.data.prompts.continuations import PromptContinuations, answer_batch, tokenize_answers
from madkit.difficulty.questions import QuestionSet
from madkit.errors import ConfigError
from madkit.store.shards import Shard, cut_shards

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class AnswerBatches(Dataset[dict[str, Any]]):
    """The batches of some shards.

    Besides the keys of `answer_batch`, a batch has the `row` and `truth` of its questions, (b,) arrays, and says
    which `shard` it is from, and whether it is the `last_in_shard`.

    Args:
        items: The tokenized questions of the table by row; those of other processes may be left out.
        truth: (n,) bool.
        shards: Those of this process.
        batch_tokens: The most tokens of a batch, padding included; a longer question is a batch by itself.
        pad_id: What to pad with.
    """

    def __init__(
        self,
        items: Mapping[int, PromptContinuations],
        truth: np.ndarray,
        shards: Sequence[Shard],
        batch_tokens: int,
        pad_id: int,
    ) -> None:
        self.items, self.truth, self.pad_id = items, truth, pad_id
        self.batches: list[tuple[int, list[int], bool]] = []
        for shard in shards:
            parts = self._pack(shard.rows, batch_tokens)
            self.batches += [(shard.index, part, i + 1 == len(parts)) for i, part in enumerate(parts)]

    def _pack(self, rows: Sequence[int], batch_tokens: int) -> list[list[int]]:
        parts: list[list[int]] = []
        width = height = 0
        for row in sorted(rows, key=lambda row: -self.items[row].length):
            lines = len(self.items[row].sequences)
            if not parts or width * (height + lines) > batch_tokens:
                parts.append([])
                width, height = self.items[row].length, 0
            parts[-1].append(row)
            height += lines
        return parts

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Any]:
        shard, rows, last = self.batches[index]
        batch: dict[str, Any] = answer_batch([self.items[row] for row in rows], self.pad_id)
        about = {"row": np.array(rows), "truth": self.truth[rows], "shard": shard, "last_in_shard": last}
        return {**batch, **about}


class QuestionData(RankAwareDataModule):
    """The questions, for one model.

    Args:
        questions: The questions.
        tokenizer: The tokenizer of the model.
        context: The most tokens that the model reads at once; None if it sets no limit.
        batch_tokens: The most tokens in one forward pass, padding included.
        shard_size: Questions in one file of losses.

    Raises:
        ConfigError: A size is not positive.
    """

    # With more devices than shards, a device may have nothing to predict.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self,
        questions: QuestionSet,
        tokenizer: PreTrainedTokenizerBase,
        context: int | None = None,
        batch_tokens: int = 16384,
        shard_size: int = 512,
    ) -> None:
        super().__init__()
        for name, value in {"batch_tokens": batch_tokens, "shard_size": shard_size}.items():
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        self.questions, self.batch_tokens = questions, batch_tokens
        self.tokenizer, self.context = tokenizer, context
        self.shards = cut_shards(["question"] * len(questions.table), shard_size)
        self.done_shards: set[int] = set()
        """Shards that are complete already; the module sets it before the prediction starts."""

    def predict_dataloader(self) -> DataLoader[Any]:
        """The batches of this process' shards that are not done yet."""
        # Shared out before the done ones are left out, so that processes never leave a shard to each other.
        remaining = [shard for shard in self.shards[self._rank :: self._world] if shard.index not in self.done_shards]
        table = self.questions.table
        rows = [row for shard in remaining for row in shard.rows]
        prompts, choices = table["prompt"].iloc[rows].tolist(), table["choices"].iloc[rows].tolist()
        items = dict(zip(rows, tokenize_answers(self.tokenizer, prompts, choices, self.context), strict=True))
        pad_id = self.tokenizer.pad_token_id or 0
        batches = AnswerBatches(items, table["truth"].to_numpy(dtype=bool), remaining, self.batch_tokens, pad_id)
        return DataLoader(batches, batch_size=None)
