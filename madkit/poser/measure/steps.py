"""The steps of measuring one model on one set of prompts, as a dataset that Lightning's loop goes through."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch.utils.data import Dataset

from madkit.poser.measure.prompts import Batch, Batches, PromptSet, scenario_batches

Step = dict[str, Any]


class JobSteps(Dataset[Step]):
    """What is done with one model on one set of prompts, in order; each step has a `kind` and mostly a `batch`.

    `begin` loads the model. `critical` and `clean` are read for the steering vector, by every process. `behaviour`,
    `unseen` and `perturbed` are measured, each batch by one of the processes, whose results `gather` brings together.
    `volume` measures local volumes one after the other; its directions are dealt out further down.

    Args:
        prompts: the set.
        tokenizer: makes the model's tokenizer when it is first needed.
        volumes: how many kinds of volume there are.
        size: prompts in a batch.
        max_length: longer prompts lose tokens on the left.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self,
        prompts: PromptSet,
        tokenizer: Callable[[], Any],
        volumes: int,
        size: int,
        max_length: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.prompts, self._make_tokenizer, self.size, self.max_length = prompts, tokenizer, size, max_length
        contrast = prompts.contrast
        self.items: list[tuple[str, int]] = [("begin", 0)]
        for kind, texts in (("critical", contrast.critical), ("clean", contrast.clean)):
            self.items += [(kind, index) for index in range(self._count(texts))]
        for kind, scenarios in (("behaviour", contrast.rest), ("unseen", prompts.unseen), ("perturbed", contrast.rest)):
            self.items += [(kind, index) for index in range(rank, self._count(scenarios), world)]
        self.items += [("gather", 0), *(("volume", index) for index in range(volumes))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Step:
        kind, index = self.items[place]
        step: Step = {"kind": kind, "index": index}
        if kind in ("begin", "gather", "volume"):
            return step
        # Only where it is asked for is a batch made: what has been measured before needs no tokenizer.
        return {**step, "batch": lambda: self.batches(kind)[index]}

    def batches(self, kind: str) -> Batches:
        """All batches of one kind of step."""
        return getattr(self, "_perturbed" if kind in ("behaviour", "perturbed") else f"_{kind}")

    def volume_batches(self, n: int | None) -> list[Batch]:
        """The first n prompts that behaviour is measured on."""
        chosen = self.prompts.contrast.rest[:n]
        batches = scenario_batches(self._tokenizer, chosen, self.max_length, self.size)
        return [batches[index] for index in range(len(batches))]

    def _count(self, items: list[Any]) -> int:
        return -(-len(items) // self.size)

    @cached_property
    def _tokenizer(self) -> Any:
        return self._make_tokenizer()

    @cached_property
    def _critical(self) -> Batches:
        return Batches(self._tokenizer, self.prompts.contrast.critical, None, self.max_length, self.size)

    @cached_property
    def _clean(self) -> Batches:
        return Batches(self._tokenizer, self.prompts.contrast.clean, None, self.max_length, self.size)

    @cached_property
    def _perturbed(self) -> Batches:
        return scenario_batches(self._tokenizer, self.prompts.contrast.rest, self.max_length, self.size)

    @cached_property
    def _unseen(self) -> Batches:
        return scenario_batches(self._tokenizer, self.prompts.unseen, self.max_length, self.size)
