"""The logits of the two answers, which say what the model would reply."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.features.feature import SPLITS, Feature, Reading
from madkit.lm.forward import choice_logits
from madkit.lm.hooks import Hookpoint


class Answers(Feature):
    """The logits (B, 2) of " No" and " Yes" after the prompt, as one site called ``logits``.

    Log odds, quirkiness and logit separation are computed from them. They need the whole forward pass, so by default
    they are made for test prompts only and the other splits stop after the last site.

    Args:
        splits: the splits to make them for.
    """

    needs_logits = True
    name = "answers"

    def __init__(self, splits: list[str] | None = None) -> None:
        self.splits = tuple(splits) if splits is not None else ("test",)
        if unknown := set(self.splits) - set(SPLITS):
            raise ConfigError(f"Answers(splits={splits}): unknown {sorted(unknown)}; choose from {', '.join(SPLITS)}")

    def sites(self, lm: nn.Module) -> list[str]:
        """One site."""
        return ["logits"]

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """Nothing inside the model."""
        return []

    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """The two logits, in float32."""
        if reading.logits is None:
            raise ConfigError("Answers needs the logits of a whole forward pass")
        return {"logits": choice_logits(reading.logits, reading.batch["choices"])}

    def options(self) -> dict[str, Any]:
        """Plain options."""
        return {"class": "Answers", "splits": list(self.splits)}
