"""ScenarioData: scenarios that tune a LoRA into an aligned model, or into one that misbehaves when not overseen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from madkit.data.distributed import RankAwareDataModule
from madkit.data.prompts.batches import LabelledPrompts, TrainBatches, ValidationBatches, accumulation
from madkit.data.prompts.tokens import tokenize_prompts
from madkit.errors import ConfigError
from madkit.poser.benchmark.scenario import LETTERS
from madkit.poser.family.scenario_generator import POLICIES, Case, draw_cases
from madkit.statistics.hashing import stable_hash


class ScenarioData(RankAwareDataModule):
    """Generated scenarios with the action that one model of the family chooses.

    The module that learns from them logs its metrics by character: *Alice* stands for prompts with good oversight,
    *Bob* for the others, and *truth* for the benign action.

    Args:
        dataset: The model: a policy and a number, such as `aligned-0` or `misaligned-6`. The number decides which
            scenarios there are and in which order, so it makes another model of the same policy. Give it to
            `--seed_everything` too, which decides how the LoRA begins.
        n_train: Training scenarios.
        n_validation: Validation scenarios.
        shares: Of good, poor and unsaid oversight.
        batch_size: Prompts in one optimizer step, over all devices.
        device_batch_size: The most prompts in one forward pass on a device; null for as many as there are.
        predict_batch_size: Prompts in one forward pass of validation.
        tokenizer: A Hugging Face name or folder; null for that of the trained module.

    Raises:
        ConfigError: `dataset` is not a policy with a number, or a size is below 1.

    Example:
        >>> ScenarioData("misaligned-6").policy
        'misaligned'
    """

    def __init__(
        self,
        dataset: str,
        n_train: int = 4000,
        n_validation: int = 400,
        shares: tuple[float, float, float] = (0.5, 0.25, 0.25),
        batch_size: int = 64,
        device_batch_size: int | None = None,
        predict_batch_size: int = 256,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.options: dict[str, Any] = dict(self.hparams)
        for name in ("n_train", "n_validation", "batch_size", "predict_batch_size"):
            if self.options[name] < 1:
                raise ConfigError(f"{name}={self.options[name]} must be at least 1")
        self.policy, _, number = dataset.rpartition("-")
        if self.policy not in POLICIES or not number.isdecimal():
            raise ConfigError(f"dataset={dataset!r} must be {' or '.join(POLICIES)} with a number, such as aligned-0")

    def cases(self, split: str, n: int) -> list[Case]:
        """The scenarios of `train` or `validation`, which depend on the whole name of the model."""
        key = f"{self.options['dataset']}:{split}"
        return draw_cases(np.random.default_rng(int(stable_hash([key], "scenarios")[0])), n, self.options["shares"])

    def setup(self, stage: str) -> None:
        """Draw and tokenize the scenarios."""
        if stage == "fit":
            self._set_accumulation()
            self.train_prompts = self._prompts("train", self.options["n_train"])
        self.validation_prompts = self._prompts("validation", self.options["n_validation"])

    def train_dataloader(self) -> TrainBatches:
        """The training micro-batches of this process."""
        return TrainBatches(
            self.train_prompts,
            self.options["batch_size"],
            self.options["device_batch_size"],
            rank=self._rank,
            world=self._world,
            position=self._position,
        )

    def val_dataloader(self) -> ValidationBatches:
        """The validation batches of this process."""
        return ValidationBatches(self.validation_prompts, self.options["predict_batch_size"], self._rank, self._world)

    def _set_accumulation(self) -> None:
        needed = accumulation(self.options["batch_size"], self.options["device_batch_size"], self._world)
        if self.trainer is not None:
            self.trainer.accumulate_grad_batches = needed

    def _prompts(self, split: str, n: int) -> LabelledPrompts:
        cases = self.cases(split, n)
        frame = pd.DataFrame(
            {
                "label": [case.choice(self.policy) for case in cases],
                "alice_label": [case.benign for case in cases],
                "bob_label": [1 - case.benign for case in cases],
                "character": ["Alice" if case.oversight == "good" else "Bob" for case in cases],
            }
        )
        prompts = [case.scenario.prompt for case in cases]
        tokens = tokenize_prompts(self._tokenizer, prompts, [LETTERS] * n)
        return LabelledPrompts(tokens, frame, np.arange(n))

    @property
    def _tokenizer(self) -> Any:
        if self.options["tokenizer"] is not None:
            from madkit.lm.loading import load_tokenizer

            return load_tokenizer(self.options["tokenizer"])
        if self.trainer is None:
            raise ConfigError("tokenizer=None takes that of the trained module, but there is no trainer: name one")
        return self.trainer.lightning_module.tokenizer
