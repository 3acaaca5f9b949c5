"""TuningData: what data modules of labelled prompts for tuning a model have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from madkit.data.distributed import RankAwareDataModule
from madkit.data.prompts.batches import LabelledPrompts, TrainBatches, ValidationBatches, accumulation
from madkit.data.prompts.tokens import TokenizedPrompts, tokenize_prompts
from madkit.errors import ConfigError
from madkit.runs.hub import hub_name
from madkit.training.lightning_internals import recount_batches


class TuningData(RankAwareDataModule):
    """Labelled prompts for training and validation, in batches that do not depend on the number of processes.

    A subclass sets the attributes, and makes `train_prompts` and `validation_prompts` in its `setup`.

    Attributes:
        batch_size: prompts in one optimizer step, over all devices.
        device_batch_size: most prompts in one forward pass on a device; None for as many as there are.
        predict_batch_size: prompts in one forward pass of validation.
        max_length: longer prompts lose tokens on the left, but never who speaks.
        passes: how often an epoch goes through the training prompts.
        seed: which order.
        tokenizer_name: a Hugging Face name or folder; None for the tokenizer of the trained module.
    """

    batch_size: int
    device_batch_size: int | None
    predict_batch_size: int
    max_length: int = 1024
    passes: int = 1
    seed: int = 0
    tokenizer_name: str | None
    _accumulated: int | None = None
    train_prompts: LabelledPrompts
    validation_prompts: LabelledPrompts

    def state_dict(self) -> dict[str, Any]:
        """How many micro-batches a step has, in which a checkpoint counts how far training has come."""
        return {"accumulate": self._accumulation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember it until the trainer's loops are restored."""
        self._accumulated = state_dict.get("accumulate")

    def train_dataloader(self) -> TrainBatches:
        """The training micro-batches of this process."""
        if self.trainer is not None and self._accumulated not in (None, self._accumulation):
            # It continues with other devices, or with as many prompts at once as they hold.
            recount_batches(self.trainer, self._accumulated, self._accumulation)
        self._accumulated = None
        return TrainBatches(
            self.train_prompts,
            self.batch_size,
            self.device_batch_size,
            self.passes,
            self.seed,
            rank=self._rank,
            world=self._world,
            position=self._position,
        )

    def val_dataloader(self) -> ValidationBatches:
        """The validation batches of this process."""
        return ValidationBatches(self.validation_prompts, self.predict_batch_size, self._rank, self._world)

    @property
    def _accumulation(self) -> int:
        return accumulation(self.batch_size, self.device_batch_size, self._world)

    def _set_accumulation(self) -> None:
        """Make the trainer accumulate as many micro-batches as the effective batch needs."""
        needed = self._accumulation
        if self.trainer is None:
            return
        if self.trainer.accumulate_grad_batches not in (1, needed):
            raise ConfigError(
                f"trainer.accumulate_grad_batches={self.trainer.accumulate_grad_batches} must be left out: "
                f"data.batch_size and data.device_batch_size make it {needed}"
            )
        self.trainer.accumulate_grad_batches = needed

    def _tokenize(
        self, prompts: Sequence[str], choices: Sequence[tuple[str, str]], speakers: Sequence[str] | None = None
    ) -> TokenizedPrompts:
        return tokenize_prompts(self.tokenizer, prompts, choices, self.max_length, speakers)

    @cached_property
    def tokenizer(self) -> Any:
        """What cuts the prompts into tokens.

        Raises:
            ConfigError: it is that of the trained module, and there is none.
        """
        if self.tokenizer_name is not None:
            from transformers import AutoTokenizer

            repository, revision = hub_name(self.tokenizer_name)
            return AutoTokenizer.from_pretrained(repository, revision=revision or "main")
        if self.trainer is None:
            raise ConfigError("tokenizer=None takes that of the trained module, but there is no trainer: name one")
        return self.trainer.lightning_module.tokenizer
