"""Statements for a corpus: what people say about a task's subject, drawn without end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Claims:
    """n statements that nobody has judged yet.

    Attributes:
        args: n mappings of field to value, as templates show them.
        truth: `(n,)` bool, whether the statement is true.
        quirk: `(n,)` bool, whether it is true by the quirk's rule.
    """

    args: Sequence[Mapping[str, Any]]
    truth: np.ndarray
    quirk: np.ndarray


class ClaimSampler(ABC):
    """Draws statements about one task; `Task.claims` makes it."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, quirky: np.ndarray, split: str = "train") -> Claims:
        """Draw statements, with repetition.

        Args:
            rng: The only source of chance.
            quirky: `(n,)` bool, whether the speaker of each goes by the quirk's rule: a speaker is more likely
                to say what holds by the own rule where the sampler has a choice.
            split: "train", or "validation" for what is held out.
        """

    @abstractmethod
    def alphabet(self) -> list[dict[str, Any]]:
        """Values of the fields in which every word, digit and sign occurs, for a vocabulary."""
