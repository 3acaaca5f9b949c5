"""One model's losses on the true answers, written shard by shard."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from madkit.difficulty.data import QuestionData
from madkit.errors import ConfigError, DataError, StoreError
from madkit.lm import loading
from madkit.lm.forward import checked_padding, hidden_states, model_logits
from madkit.runs import fingerprints
from madkit.store.feature_store import FeatureStore


class LossStore(FeatureStore):
    """A store with one vector of length 1 for each question: the loss of one model, float64, in nats."""

    command: ClassVar[str] = "madkit data difficulty"

    @staticmethod
    @override
    def check_table(rows: pd.DataFrame) -> None:
        """Questions have none of the columns of prompts."""

    def losses(self) -> np.ndarray:
        """The losses (n,) float64, by row of the table of questions."""
        rows, x = self.read("loss", "question")
        losses = np.full(len(self.rows), np.nan)
        losses[rows.numpy()] = x[:, 0].numpy()
        return losses


def context_length(model: str, max_length: int | None = None, trust_remote_code: bool = False) -> int | None:
    """The most tokens that a model reads at once, `max_length` at most; None if nothing sets a limit."""
    config = loading.load_config(model, trust_remote_code=trust_remote_code, argument="models")
    text = config.get_text_config(decoder=True)
    limits = [getattr(text, "max_position_embeddings", None), getattr(text, "max_seq_len", None), max_length]
    return min((limit for limit in limits if limit is not None), default=None)


class AnswerLosses(L.LightningModule):
    """Compute and store the two-way loss of one model on the true answers of a `QuestionData`.

    Args:
        model: hub name or folder of a causal LM.
        folder: where its store goes: ``<folder>/<key>``.
        data: the questions in the model's tokens.
        shared_identity: what all models are asked and how, as plain data: that part of the store's identity.
        dtype: number format of the weights: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``. Logits and
            losses are computed in float32 or better, from hidden states in this format.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        trust_remote_code: run code that comes with the model.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        data: QuestionData,
        shared_identity: dict[str, Any],
        dtype: str = "auto",
        attention: str = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        loading.resolve_dtype(dtype)
        self.name, self.folder, self.data, self.shared_identity = model, folder, data, shared_identity
        self.dtype_name, self.attention = dtype, attention
        self.trust_remote_code = trust_remote_code
        self.lm: Any = None
        self.head: Any = None
        self._parts: list[tuple[np.ndarray, Tensor]] = []

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes the losses: the store's key is its digest."""
        return {
            **self.shared_identity,
            "model": fingerprints.fingerprint(self.name),
            "tokenizer": fingerprints.tokenizer_fingerprint(self.data.tokenizer),
            "dtype": self.dtype_name,
            "attention": self.attention,
            "context": self.data.context,
        }

    @property
    def path(self) -> Path:
        """The folder of the store."""
        return self.folder / LossStore.key(self.identity)

    def complete(self) -> bool:
        """Whether every loss is on disk already."""
        try:
            store = LossStore(self.path)
            return store.complete and bool(np.isfinite(store.losses()).all())
        except StoreError:
            return False

    def setup(self, stage: str) -> None:
        """Open the store and find out what is still to be computed, before any weights are loaded."""
        if self.trainer.is_global_zero:
            rows = self.data.questions.table[["row", "key", "truth"]]
            LossStore.create(self.folder, self.identity, ["loss"], self.data.shards, rows)
        self.trainer.strategy.barrier()
        self.store = LossStore(self.path)
        rank, world = self.global_rank, self.trainer.world_size
        self.store.discard_damaged([shard.index for shard in self.data.shards][rank::world])
        self.trainer.strategy.barrier()
        self.store.reopen(write=self.trainer.is_global_zero)
        self.data.done_shards = self.store.done()

    def configure_model(self) -> None:
        """Load the weights."""
        if self.lm is not None:
            return
        self.lm = loading.load_causal_lm(
            self.name,
            dtype=self.dtype_name,
            attention=self.attention,
            trust_remote_code=self.trust_remote_code,
            argument="models",
        )
        head = self.lm.get_output_embeddings()
        # A logit in half precision is rounded by as much as many questions differ.
        if next(head.parameters()).element_size() < 4:
            self.head = copy.deepcopy(head).float()

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compute the losses of one batch; write the shard when this was its last batch."""
        try:
            loss = self.losses(batch)
        except torch.OutOfMemoryError:
            rows, width = batch["input_ids"].shape
            raise ConfigError(
                f"models={self.name!r}: a batch of {rows} x {width} tokens does not fit into the memory: lower "
                "`--batch_tokens`, and the command continues"
            ) from None
        if bad := int((~loss.isfinite()).sum()):
            row = int(batch["row"][int((~loss.isfinite()).nonzero()[0])])
            raise DataError(
                f"models={self.name!r} with dtype={self.dtype_name!r} gives {bad} losses that are NaN or infinite, "
                f"the first at question {row}: use `--dtype float32` or `bfloat16`, or leave the model out"
            )
        self._parts.append((np.asarray(batch["row"]), loss))
        if batch["last_in_shard"]:
            rows, losses = zip(*self._parts, strict=True)
            self._parts = []
            vectors = {"loss": torch.cat(losses)[:, None]}
            self.store.write(int(batch["shard"]), torch.from_numpy(np.concatenate(rows)), vectors)

    def losses(self, batch: dict[str, Any]) -> Tensor:
        """The losses (b,) float64, on the CPU, of one batch."""
        states = hidden_states(
            self.lm, batch["input_ids"], batch["attention_mask"], padded=checked_padding(self.lm, batch)
        )
        row, column = batch["positions"].T
        states = states[row, column]
        states = states if self.head is None else states.float()
        logits = model_logits(self.lm, states, self.head)
        # Apart and in float64, so that the normalizer of two answers at one position cancels to the last bit.
        chosen = logits[batch["position"], batch["token"]].cpu().double()
        normalizer = logits.logsumexp(dim=-1).cpu().double()[batch["position"].cpu()]
        log_probability = torch.zeros(len(batch["row"]), 2, dtype=torch.float64)
        index = batch["item"].cpu(), batch["answer"].cpu()
        log_probability.index_put_(index, chosen - normalizer, accumulate=True)
        truth = torch.from_numpy(np.asarray(batch["truth"]))
        log_odds = log_probability[:, 1] - log_probability[:, 0]
        return -F.logsigmoid(torch.where(truth, log_odds, -log_odds))

    def teardown(self, stage: str) -> None:
        """Once every process has written its shards, declare the store complete; also where none was missing."""
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            self.store.finish()
        self.trainer.strategy.barrier()
