"""The logits of the two answers, which say what the model would reply."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.feature import SPLITS, Feature
from madkit.features.trace import Trace
from madkit.lm.forward import choice_logits
from madkit.lm.hooks import Hookpoint


class Answers(Feature):
    """The logits (B, 2) of " No" and " Yes" after the prompt, in float32, as one site called ``logits``.

    Log odds, quirkiness and logit separation are computed from them. They need a complete forward pass, so by default
    they are made for test prompts only and the other splits stop after the last site.

    Args:
        splits: the splits to make them for; null for ``test`` alone.

    Raises:
        ConfigError: there is no such split.
    """

    needs_logits = True

    def __init__(self, splits: list[str] | None = None) -> None:
        self.splits: Sequence[str] = ["test"] if splits is None else splits
        if unknown := set(self.splits) - set(SPLITS):
            raise ConfigError(f"Answers(splits={splits}): unknown {sorted(unknown)}; choose from {', '.join(SPLITS)}")

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return ["logits"]

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        return []

    @override
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        if trace.logits is None:
            raise ConfigError("Answers needs the logits of a complete forward pass")
        return {"logits": choice_logits(trace.logits, trace.batch["choices"])}
