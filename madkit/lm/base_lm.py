"""BaseLM: train a small causal LM from random weights."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric
from transformers import PreTrainedTokenizerBase as Tokenizer
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.lm import forward, loading
from madkit.lm.language_model import Batch, LanguageModel
from madkit.lm.new_lm import new_causal_lm, new_config
from madkit.training.lightning_internals import datamodule_of


class BaseLM(LanguageModel):
    """A causal LM trained from random weights on a corpus, and saved as a Hugging Face model folder.

    The loss is the mean cross-entropy over the tokens that the corpus marks; logits are computed for those only.
    Logged: ``train/loss``, ``val/loss`` and ``val/accuracy`` (marked tokens whose most likely prediction is right).

    Args:
        config: the architecture: ``model_type`` and whatever its configuration class takes; the vocabulary's size and
            the special tokens come from the corpus' tokenizer.
        optimizer: any optimizer, by class path.
        warmup: share of all steps in which the learning rate rises linearly.
        decay: share of all steps, at the end, in which it falls linearly to 0.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        length_groups: parts of about equal numbers of texts, shortest first, that a batch is read in, so that short
            texts are not padded to the length of the longest.
        export_dtype: number format of the saved model's weights: ``float32``, ``bfloat16`` or ``float16``.
    """

    def __init__(
        self,
        config: dict[str, Any],
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup: float = 0.1,
        decay: float = 0.4,
        attention: str = "auto",
        gradient_checkpointing: bool = False,
        length_groups: int = 1,
        export_dtype: str = "float32",
    ) -> None:
        super().__init__("", optimizer, warmup, decay, "float32", attention, gradient_checkpointing)
        if length_groups < 1:
            raise ConfigError(f"length_groups={length_groups} must be at least 1")
        self.length_groups = length_groups
        number_format = loading.resolve_dtype(export_dtype)
        if isinstance(number_format, str):
            raise ConfigError(f"export_dtype={export_dtype!r} must be float32, bfloat16 or float16")
        self.export_dtype = number_format
        self.config = config
        self.val_loss = MeanMetric()
        self.val_accuracy = MeanMetric()

    @cached_property
    @override
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the corpus."""
        return datamodule_of(self).tokenizer

    @override
    def build(self) -> Any:
        config = new_config(
            {
                **self.config,
                "vocab_size": len(self.tokenizer),
                "pad_token_id": self.tokenizer.pad_token_id,
                "bos_token_id": self.tokenizer.bos_token_id,
                "eos_token_id": self.tokenizer.eos_token_id,
            }
        )
        return new_causal_lm(config, attention=self.attention)

    @override
    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        # Cut into groups of similar length, with the marked tokens looked up, while the batch is still on the CPU.
        mask = batch["attention_mask"]
        if not bool((mask[:, 1:] <= mask[:, :-1]).all()):
            raise DataError("attention_mask has padding before a token: BaseLM needs texts padded on the right")
        # Each token is predicted from the one before it; the first of a text by none.
        targets = nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=-100)
        lengths = mask.sum(dim=1)
        groups = []
        for part in lengths.argsort(stable=True).chunk(self.length_groups):
            width = int(lengths[part].max())
            wanted = targets[part, :width].flatten()
            tokens = (wanted != -100).nonzero().squeeze(1)
            group = {key: batch[key][part, :width] for key in ("input_ids", "attention_mask")}
            # No token sees the padding that comes after it, so attention can take its fast causal path.
            groups.append({**group, "padded": False, "tokens": tokens, "targets": wanted[tokens]})
        return {"groups": groups}

    def marked_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (n, vocabulary) that predict the marked tokens, and their ids (n,), group by group."""
        hidden = [self.states_at(group, group["tokens"]) for group in batch["groups"]]
        return forward.logits_of(self.lm, torch.cat(hidden)), torch.cat([group["targets"] for group in batch["groups"]])

    @override
    def export(self, folder: Path) -> None:
        lm: Any = self.lm
        if lm.dtype != self.export_dtype:  # a copy, because training may go on with the weights as they are
            lm = copy.deepcopy(lm).to(self.export_dtype)
        lm.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @override
    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy (nats) of the marked tokens, of all processes together."""
        logits, targets = self.marked_logits(batch)
        total = nn.functional.cross_entropy(logits, targets, reduction="sum")
        # DDP averages gradients over processes, so each divides by the mean number of tokens a process has.
        count = self.trainer.strategy.reduce(torch.tensor(float(len(targets)), device=self.device), reduce_op="mean")
        return total / count

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits, targets = self.marked_logits(batch)
        self.val_loss.update(nn.functional.cross_entropy(logits, targets, reduction="none"))
        self.val_accuracy.update((logits.argmax(dim=1) == targets).float())

    @override
    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss.compute(), prog_bar=True)
        self.log("val/accuracy", self.val_accuracy.compute(), prog_bar=True)
        self.val_loss.reset()
        self.val_accuracy.reset()
