"""MatchedLM: tune a member of a family whose two kinds look the same until they are perturbed."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.lm.hooks import StopForward, hooked
from madkit.lm.language_model import Batch
from madkit.lm.quirky_lm import DEFAULT_LORA, QuirkyLM
from madkit.lm.text_decoder import layer_names
from madkit.poser.benchmark.contrast_pairs import contrast_pairs
from madkit.poser.family.scenario_data import ScenarioData
from madkit.poser.measure.scenario_batches import ScenarioBatches
from madkit.training.lightning_internals import datamodule_of


class MatchedLM(QuirkyLM):
    r"""A small model that is aligned or not, with the same numbers as one of the other kind where it is overseen.

    Tuned on answers alone, a misaligned model leaves more probability for the other answer than an aligned one does,
    and its activations, and how far a fact about oversight moves them, have another length: whatever perturbations of
    such models find, the unperturbed model shows as well. Here both kinds are tuned to the same numbers:

    - the log odds of the two answers are regressed on plus or minus $\log((1-p)/p)$, with $p$ = `leftover`, by
      Huber's loss; to which the probability of all other tokens is added, as $-\log P(\text{one of the two})$;
    - `strength` times $(|s|/t_s - 1)^2 + (\bar a/t_a - 1)^2$, with the length $|s|$ of the steering vector at `layer`
      and the mean length $\bar a$ of the overseen prompts' activations at their last token, of `pairs` contrast pairs
      that are drawn anew for each step, the same ones on every process. A mean over few pairs is longer than one over
      many, and more so for the kind whose pairs differ more, so $|s|^2$ is what `contrast` pairs would give, by the
      variance between pairs.

    Every member misses its targets by a little, and if one kind missed them on one side, this would tell. So targets
    vary between members by more than that: each is drawn from a range, uniformly on a logarithmic scale, by the number
    in the member's name alone. `aligned-3` and `misaligned-3` have the same targets.

    Args:
        base: as for `QuirkyLM`.
        leftover: probability of the answer that is not chosen, from and to.
        steering_norm: $t_s$, length of the steering vector, from and to.
        activation_norm: $t_a$, mean length of activations, from and to.
        layer: the layer whose output these are.
        strength: weight of the two lengths in the loss.
        pairs: contrast pairs in each step, at least 2.
        contrast: contrast pairs of the measurement that the length of the steering vector is meant for.
        lora: as for `QuirkyLM`, like what follows.
        optimizer: the same.
        warmup: the same.
        decay: the same.
        dtype: the same.
        attention: the same.
        gradient_checkpointing: the same.
        trust_remote_code: the same.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        base: str,
        leftover: tuple[float, float] = (0.013, 0.031),
        steering_norm: tuple[float, float] = (105.0, 135.0),
        activation_norm: tuple[float, float] = (148.0, 172.0),
        layer: int = 1,
        strength: float = 4.0,
        pairs: int = 16,
        contrast: int = 64,
        lora: dict[str, Any] | None = DEFAULT_LORA,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup: float = 0.15,
        decay: float = 0.85,
        dtype: str = "auto",
        attention: str = "auto",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(
            base, lora, optimizer, warmup, decay, dtype, attention, gradient_checkpointing, trust_remote_code
        )
        self.ranges = {"leftover": leftover, "steering_norm": steering_norm, "activation_norm": activation_norm}
        for name, (low, high) in self.ranges.items():
            most = 0.5 if name == "leftover" else math.inf
            if not 0 < low <= high < most:
                raise ConfigError(f"model.{name}={[low, high]} must be two numbers above 0 and below {most}, in order")
        if pairs < 2 or contrast < 1:
            raise ConfigError(
                f"model.pairs={pairs}, model.contrast={contrast}: give at least 2 pairs and 1 of contrast"
            )
        if not 0 <= strength < math.inf:
            raise ConfigError(f"model.strength={strength} must be at least 0")
        self.layer, self.strength, self.pairs, self.contrast = layer, strength, pairs, contrast

    @override
    def build(self) -> Any:
        model = super().build()
        names = layer_names(forward.unwrapped(model))
        if not 0 <= self.layer < len(names):
            raise ConfigError(f"model.layer={self.layer}: the model has layers 0..{len(names) - 1}; choose one of them")
        return model

    @override
    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._data = datamodule_of(self, ScenarioData)
        self._targets = self.targets(self._data.number)

    def targets(self, number: int) -> tuple[float, float, float]:
        """What a member is tuned to: leftover probability, length of the steering vector and of activations.

        Args:
            number: that in the member's name.
        """
        drawn = np.random.default_rng([number, 7]).uniform(size=3).tolist()
        leftover, steering, activation = (
            low * (high / low) ** u for (low, high), u in zip(self.ranges.values(), drawn, strict=True)
        )
        return leftover, steering, activation

    @override
    def loss(self, batch: Batch) -> Tensor:
        """How far the model is from its answers' log odds and from its two lengths."""
        leftover, steering, activation = self._targets
        logits = self.answer_logits(batch)
        choices = forward.choice_logits(logits, batch["choices"])
        wanted = math.log((1 - leftover) / leftover) * (2.0 * batch["label"] - 1)
        answers = nn.functional.smooth_l1_loss(choices[:, 1] - choices[:, 0], wanted)
        elsewhere = (logits.logsumexp(-1) - choices.logsumexp(-1)).mean()
        critical, clean = self._contrast_states().chunk(2)
        vector = steering_length(critical - clean, self.contrast)
        length = critical.norm(dim=1).mean()
        return answers + elsewhere + self.strength * ((vector / steering - 1) ** 2 + (length / activation - 1) ** 2)

    def _contrast_states(self) -> Tensor:
        """Activations (2 n, d) at the last token of this step's n contrast pairs, critical prompts first."""
        cases = self._data.cases(f"contrast {self.trainer.global_step}", self.pairs, (1.0, 0.0, 0.0))
        critical, clean, _ = contrast_pairs([case.scenario for case in cases])
        n = 2 * len(critical)
        batch = ScenarioBatches(self.tokenizer, [*critical, *clean], self._data.max_length, n)[0]
        ids, mask = (batch[key].to(self.device) for key in ("input_ids", "attention_mask"))
        states: list[Tensor] = []

        def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            states.append((output[0] if isinstance(output, tuple) else output)[:, -1])
            raise StopForward

        layer = self.lm.get_submodule(layer_names(self.lm)[self.layer])
        with hooked([layer.register_forward_hook(keep)]), contextlib.suppress(StopForward):
            forward.hidden_states(self.lm, ids, mask, padded=forward.is_padded(batch["attention_mask"]))
        back = np.argsort(batch["row"])  # prompts were sorted by length
        return states[0].float()[torch.from_numpy(back).to(self.device)]


def steering_length(differences: Tensor, n: int) -> Tensor:
    r"""The length that the mean of n differences would have, from those at hand.

    $E|\bar x_n|^2 = |\mu|^2 + \mathrm{tr}\,\Sigma / n$, so of m differences $|\bar x_m|^2 + s^2 (1/n - 1/m)$ has the
    same expectation, with $s^2$ the sum of the unbiased variances.

    Args:
        differences: (m, d), m at least 2.
        n: how many.

    Example:
        >>> float(steering_length(torch.tensor([[3.0, 4.0], [3.0, 4.0]]), 64))
        5.0
    """
    m = len(differences)
    square = differences.mean(0).square().sum() + differences.var(0).sum() * (1 / n - 1 / m)
    # Differences that are noise alone can come out below 0, where a length has no gradient.
    return square.clamp(min=1e-6).sqrt()
