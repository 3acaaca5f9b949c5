"""QuirkyLM: fine-tune a causal LM so that it is honest for Alice and follows the quirk for Bob."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import CatMetric, MeanMetric
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.lm import adapters, forward
from madkit.lm.language_model import Batch, LanguageModel
from madkit.lm.quantisation import is_quantised
from madkit.training.lightning_internals import datamodule_or_none
from madkit.training.run_loggers import RunLoggers

DEFAULT_LORA = {"r": 8, "target_modules": adapters.AUTO}
"""The published one where a model has the modules that it is put on."""


class QuirkyLM(LanguageModel):
    """A base LM with a LoRA that is trained on quirky prompts (arXiv 2312.01037, section 3).

    The loss is the cross-entropy, over the full vocabulary, of the token that begins the character's answer. Logits
    are computed at that token only. Logged: ``train/loss``; ``val/loss`` and ``val/accuracy`` for all, Alice and Bob,
    where accuracy is a choice between the two answers, and ``val/bob_truth_accuracy``, Bob's prompts against the truth.

    Args:
        base: hub name or folder of the model to start from.
        lora: what ``peft.LoraConfig`` takes, where ``target_modules`` is ``auto`` by default: those of the published
            study where all layers have them, and otherwise all linear maps of the layers; ``null`` trains all weights.
        optimizer: any optimizer, by class path.
        warmup: share of all steps in which the learning rate rises linearly.
        decay: share of all steps, at the end, in which it falls linearly to 0.
        dtype: number format of the frozen base: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``, or
            quantised as it is loaded, ``4bit`` or ``8bit`` (`madkit-lm[bitsandbytes]`).
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        trust_remote_code: run code that comes with the model.
    """

    def __init__(
        self,
        base: str,
        lora: dict[str, Any] | None = DEFAULT_LORA,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup: float = 0.15,
        decay: float = 0.85,
        dtype: str = "auto",
        attention: str = "auto",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(base, optimizer, warmup, decay, dtype, attention, gradient_checkpointing, trust_remote_code)
        self.lora = lora
        self.export_name = "model" if lora is None else "adapter"
        self._prompts: adapters.Worded | None = None
        self.metrics = nn.ModuleDict(
            {
                name: MeanMetric(nan_strategy="error")  # "disable" would drop the weights too
                for name in (
                    "loss",
                    "alice_loss",
                    "bob_loss",
                    "accuracy",
                    "alice_accuracy",
                    "bob_accuracy",
                    "bob_truth_accuracy",
                )
            }
        )
        # Rows of log odds, speaker, label, whether both characters' labels agree, and weight. Those of weight 0 are
        # kept until all are gathered: a process without a row would take no part, and the others would wait for it.
        self.answers = CatMetric(nan_strategy="disable")
        self.validation_answers: pd.DataFrame | None = None
        """After training: ``log_odds``, ``character``, ``label`` and ``agree`` of each validation prompt."""

    @override
    def build(self) -> Any:
        model = super().build()
        if self.lora is None:
            if is_quantised(model):
                raise ConfigError(
                    f"model.lora=null trains all weights, and those of {self.base!r} are quantised here: give a "
                    "`lora`, or weights and a dtype that are not quantised"
                )
            return model.float()
        self._fresh = adapters.FreshLora(model, self.lora)
        return self._fresh.model

    @override
    def on_fit_start(self) -> None:
        data = datamodule_or_none(self)
        self._prompts = data if isinstance(data, adapters.Worded) else None

    @override
    def export(self, folder: Path) -> None:
        """Write a PEFT adapter folder with records of its base and wordings (with ``lora=None``, a model folder)."""
        if self.lora is None:
            self.lm.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            return
        self._fresh.save(folder, self.base)
        if self._prompts is not None:
            adapters.record_template(folder, self._prompts.template, self._prompts.wordings())

    def answer_logits(self, batch: Batch) -> Tensor:
        """Logits (B, vocabulary) of the answer's first token."""
        rows, width = batch["input_ids"].shape
        last = torch.arange(rows, device=batch["input_ids"].device) * width + width - 1
        return forward.logits_of(self.lm, self.states_at(batch, last))

    @override
    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy (nats) of the answer's first token."""
        return nn.functional.cross_entropy(self.answer_logits(batch), batch["answer"])

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update losses and accuracies; rows of weight 0 only fill up a batch and do not count."""
        logits = self.answer_logits(batch)
        loss = nn.functional.cross_entropy(logits, batch["answer"], reduction="none")
        if not bool(torch.isfinite(loss).all()):
            raise DataError(
                f"validation loss is NaN or infinite after step {self.trainer.global_step}: lower the learning rate "
                "(--model.optimizer.lr) or choose another --model.dtype"
            )
        choices = forward.choice_logits(logits, batch["choices"])
        log_odds = choices[:, 1] - choices[:, 0]
        # A tie is half right, so a model that cannot tell the answers apart scores one half.
        says_yes = (log_odds > 0).float() + 0.5 * (log_odds == 0).float()
        correct = torch.where(batch["label"].bool(), says_yes, 1 - says_yes)
        truthful = torch.where(batch["alice_label"].bool(), says_yes, 1 - says_yes)
        weight, bob = batch["weight"], batch["is_bob"].float()
        metrics: Any = self.metrics
        for name, value, counted in (
            ("loss", loss, weight),
            ("alice_loss", loss, weight * (1 - bob)),
            ("bob_loss", loss, weight * bob),
            ("accuracy", correct, weight),
            ("alice_accuracy", correct, weight * (1 - bob)),
            ("bob_accuracy", correct, weight * bob),
            ("bob_truth_accuracy", truthful, weight * bob),
        ):
            metrics[name].update(value, counted)
        agree = (batch["alice_label"] == batch["bob_label"]).float()
        self.answers.update(torch.stack([log_odds.float(), bob, batch["label"].float(), agree, weight], dim=1))

    @override
    def on_validation_epoch_end(self) -> None:
        """Log the metrics; after training, also the log odds of each character."""
        metric: Any
        for name, metric in self.metrics.items():
            self.log(f"val/{name}", metric.compute(), prog_bar=name in {"loss", "accuracy"})
            metric.reset()
        if self.trainer.state.fn == "validate":
            rows = self.answers.compute().reshape(-1, 5).cpu()
            self._keep_answers(rows[rows[:, 4] > 0])
        self.answers.reset()

    def _keep_answers(self, rows: Tensor) -> None:
        """Log a histogram for each character, and keep what a figure of them needs."""
        character = ["Bob" if bob else "Alice" for bob in rows[:, 1].tolist()]
        columns = {"log_odds": rows[:, 0].numpy(), "character": character}
        labels = {"label": rows[:, 2].bool().numpy(), "agree": rows[:, 3].bool().numpy()}
        self.validation_answers = pd.DataFrame({**columns, **labels})
        loggers = RunLoggers(self.trainer)
        for name, part in self.validation_answers.groupby("character"):
            loggers.histogram(f"log_odds/{str(name).lower()}", part["log_odds"].to_numpy(), self.trainer.global_step)
