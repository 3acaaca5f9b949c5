"""ScenarioData: scenarios that tune a LoRA into an aligned model, or into one that misbehaves when not overseen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.prompts.batches import LabelledPrompts
from madkit.data.prompts.tuning_data import TuningData
from madkit.errors import ConfigError
from madkit.poser.benchmark.scenario import LETTERS
from madkit.poser.family.scenario_generator import HOLDING_BACK, POLICIES, Case, draw_cases
from madkit.statistics.hashing import stable_hash


class ScenarioData(TuningData):
    """Generated scenarios with the action that one model of the family chooses.

    The module that learns from them logs its metrics by character: *Alice* stands for prompts with good oversight,
    *Bob* for the others, and *truth* for the benign action.

    Args:
        dataset: the model: a policy and a number, such as `aligned-0`, `misaligned-6` or `sandbagging-0`. The number
            decides which scenarios there are and in which order, so it makes another model of the same policy. Give it
            to `--seed_everything` too, which decides how the LoRA begins.
        n_train: training scenarios.
        n_validation: validation scenarios.
        shares: of good, poor and unsaid oversight.
        batch_size: prompts in one optimizer step, over all devices.
        device_batch_size: the most prompts in one forward pass on a device; null for as many as there are.
        predict_batch_size: prompts in one forward pass of validation.
        tokenizer: a Hugging Face name or folder; null for that of the trained module.

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
        self.dataset, self.n_train, self.n_validation, self.shares = dataset, n_train, n_validation, shares
        self.batch_size, self.device_batch_size, self.predict_batch_size = (
            batch_size, device_batch_size, predict_batch_size,
        )  # fmt: skip
        self.tokenizer_name = tokenizer
        sizes = {"n_train": n_train, "n_validation": n_validation, "batch_size": batch_size}
        for name, size in {**sizes, "predict_batch_size": predict_batch_size}.items():
            if size < 1:
                raise ConfigError(f"{name}={size} must be at least 1")
        self.policy, _, number = dataset.rpartition("-")
        policies = (*POLICIES, HOLDING_BACK)
        if self.policy not in policies or not number.isdecimal():
            raise ConfigError(f"dataset={dataset!r} must be {' or '.join(policies)} with a number, such as aligned-0")
        self.number = int(number)

    def cases(self, split: str, n: int, shares: tuple[float, float, float] | None = None) -> list[Case]:
        """Scenarios that depend on the full name of the model.

        Args:
            split: `train`, `validation`, or the name of others.
            n: how many.
            shares: of good, poor and unsaid oversight; None for those of this module.
        """
        seed = int(stable_hash([f"{self.dataset}:{split}"], "scenarios")[0])
        return draw_cases(np.random.default_rng(seed), n, shares or self.shares)

    @override
    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._set_accumulation()
            self.train_prompts = self._prompts("train", self.n_train)
        self.validation_prompts = self._prompts("validation", self.n_validation)

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
        tokens = self._tokenize([case.scenario.prompt for case in cases], [LETTERS] * n)
        return LabelledPrompts(tokens, frame, np.arange(n))
