"""Batches of prompts, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.errors import ConfigError, DataError

Batch = dict[str, Any]


@dataclass(frozen=True)
class LabelledPrompts:
    """Tokenized prompts with their labels.

    Attributes:
        tokens: The n prompts.
        frame: n rows with `label`, `alice_label`, `bob_label` and `character`.
        rows: (n,) int64, the number of each prompt in the rest of the pipeline.
    """

    tokens: TokenizedPrompts
    frame: pd.DataFrame
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    # Once for all: pandas takes as long for the rows of a batch as a small model for a tenth of its forward pass.
    @cached_property
    def _labels(self) -> dict[str, np.ndarray]:
        return {c: self.frame[c].to_numpy().astype(np.int64) for c in ("label", "alice_label", "bob_label")}

    @cached_property
    def _is_bob(self) -> np.ndarray:
        return (self.frame["character"] == "Bob").to_numpy(dtype=bool)

    def batch(self, index: np.ndarray, weight: float = 1.0) -> Batch:
        """Collate b prompts.

        Args:
            index: (b,) positions.
            weight: 1, or 0 for prompts that only fill up a batch and must not be counted.

        Returns:
            Tensors: `input_ids`, `attention_mask` (b, t) int64, padded on the left; `choices` (b, 2)
            int64 answer tokens [false, true]; `answer` (b,) int64, the token of the record's label;
            `label`, `alice_label`, `bob_label` (b,) int64 0 or 1; `is_bob` (b,) bool; `weight` (b,)
            float32; `row` (b,) int64.
        """
        input_ids, mask = self.tokens.padded(index)
        labels = {column: values[index] for column, values in self._labels.items()}
        choices = self.tokens.choices[index]
        arrays = {
            "input_ids": input_ids,
            "attention_mask": mask,
            "choices": choices,
            "answer": np.take_along_axis(choices, labels["label"][:, None], axis=1)[:, 0],
            **labels,
            "is_bob": self._is_bob[index],
            "weight": np.full(len(index), weight, dtype=np.float32),
            "row": self.rows[index],
        }
        return {key: torch.tensor(array) for key, array in arrays.items()}


class TrainBatches:
    """The training batches of one process: an iterable that continues at the trainer's position.

    The k-th effective batch of epoch e is a function of (seed, e, k). A process takes every world-th of its
    rows, and cuts them into micro-batches whose gradients the trainer accumulates. The trainer's position is
    read when the first batch is drawn, so a run that was killed in the middle of an epoch goes on with the
    batch that comes next. (A checkpoint holds no half-accumulated gradients, so it
    should be taken at an optimizer step, as ModelCheckpoint does.)

    Args:
        prompts: n prompts.
        batch_size: Effective batch of one optimizer step, over all processes.
        device_batch_size: Prompts in one forward pass; None for as many as a process has.
        passes: How often an epoch goes through the prompts.
        seed: Which order.
        rank: This process.
        world: Number of processes.
        position: Says (epoch, micro-batches done in it).

    Raises:
        ConfigError: The effective batch does not divide by the processes or the micro-batches.
        DataError: There are fewer prompts than one effective batch needs.
    """

    def __init__(
        self,
        prompts: LabelledPrompts,
        batch_size: int,
        device_batch_size: int | None = None,
        passes: int = 1,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        position: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self.prompts, self.batch_size, self.passes, self.seed = prompts, batch_size, passes, seed
        self.rank, self.world, self._position = rank, world, position
        self.accumulate = accumulation(batch_size, device_batch_size, world)
        self.steps = len(prompts) * passes // batch_size
        if self.steps == 0:
            raise DataError(
                f"batch_size={batch_size} is more than {len(prompts)} training prompts in {passes} passes: "
                "lower it, or raise n_train or max_train"
            )
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[Batch]:
        # A generator: the position is looked up when the trainer draws the first batch, not when it sets up.
        epoch, start = self._position()
        for index in range(start, len(self)):
            yield self.prompts.batch(self.micro_batch(epoch, index))

    def state_dict(self) -> dict[str, int]:
        """The trainer's position; that it exists tells Lightning that these batches can be resumed."""
        epoch, index = self._position()
        return {"epoch": epoch, "index": index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to do: the trainer restores its position, and that is the one in use."""

    def global_batch(self, epoch: int, step: int) -> np.ndarray:
        """The positions of all prompts of one optimizer step, (batch_size,), short ones first."""
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, 2, epoch])
            orders = [rng.permutation(len(self.prompts)) for _ in range(self.passes)]
            self._order = epoch, np.concatenate(orders)
        start = step * self.batch_size
        return self.prompts.tokens.by_length(self._order[1][start : start + self.batch_size])

    def micro_batch(self, epoch: int, index: int) -> np.ndarray:
        """The positions of the prompts of this process' index-th forward pass of an epoch."""
        step, part = divmod(index, self.accumulate)
        rows = self.global_batch(epoch, step)[self.rank :: self.world]
        return np.split(rows, self.accumulate)[part]


class ValidationBatches:
    """The validation batches of one process; every prompt counts once over all processes.

    All processes have equally many batches. Where one is missing, another is repeated with weight 0.

    Args:
        prompts: The prompts.
        batch_size: Prompts in one batch.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, prompts: LabelledPrompts, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.prompts = prompts
        order = prompts.tokens.by_length(np.arange(len(prompts)))
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        padding = -len(batches) % world
        weighted = [(batch, 1.0) for batch in batches] + [(batches[-1], 0.0)] * padding
        self.batches = weighted[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for index, weight in self.batches:
            yield self.prompts.batch(index, weight)


def accumulation(batch_size: int, device_batch_size: int | None, world: int) -> int:
    """How many forward passes each process makes for one optimizer step.

    Raises:
        ConfigError: The numbers do not divide.

    Example:
        >>> accumulation(32, 4, world=2)
        4
    """
    share, rest = divmod(batch_size, world)
    if batch_size < 1 or rest:
        raise ConfigError(f"batch_size={batch_size} must be a multiple of the {world} processes")
    micro = share if device_batch_size is None else min(device_batch_size, share)
    if micro < 1 or share % micro:
        raise ConfigError(
            f"device_batch_size={device_batch_size} must divide the {share} prompts that each of {world} "
            f"processes has of batch_size={batch_size}"
        )
    return share // micro
