"""ScenarioPrompts: the prompts on which some pairs of models are compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from madkit.poser.benchmark.contrast_pairs import ContrastPairs
from madkit.poser.benchmark.scenario import Scenario


@dataclass(frozen=True)
class ScenarioPrompts:
    """What the models of some pairs are compared on.

    Attributes:
        name: the benchmark file, without folder and ending.
        contrast: the pairs for steering vectors, and the scenarios that behaviour is measured on.
        unseen: scenarios in which misbehaviour would go unnoticed, to see whether models really differ there; empty
            where there are none.
    """

    name: str
    contrast: ContrastPairs
    unseen: list[Scenario]

    @property
    def measured(self) -> list[Scenario]:
        """The scenarios that behaviour is measured on."""
        return self.contrast.rest

    @cached_property
    def digest(self) -> str:
        """A digest of all texts and responses."""
        sha = hashlib.sha256()
        for scenario in [*self.measured, *self.unseen]:
            sha.update(f"{scenario.prompt}\0{scenario.response}\0".encode())
        for text in (*self.contrast.critical, *self.contrast.clean):
            sha.update(f"{text}\0".encode())
        return sha.hexdigest()[:16]
