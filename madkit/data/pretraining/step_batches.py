"""Training data whose k-th batch is a function of k: data modules, their batches, and texts put into a rectangle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from madkit.data.distributed import RankAwareDataModule
from madkit.errors import ConfigError

_NO_LOSS = -100


class StepBatches:
    """The batches of an epoch; a resumed run goes on with the batch that comes next.

    Args:
        batch: Makes the batch of a step of the run.
        steps: Steps in an epoch.
        position: Says (epoch, steps done in it) when the first batch is drawn.
    """

    def __init__(self, batch: Callable[[int], Any], steps: int, position: Callable[[], tuple[int, int]]) -> None:
        self._batch, self._steps, self._position = batch, steps, position

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._position()
        for index in range(start, self._steps):
            yield self._batch(epoch * self._steps + index)

    def state_dict(self) -> dict[str, int]:
        """The trainer's position; that it exists tells Lightning that these batches can be resumed."""
        epoch, index = self._position()
        return {"epoch": epoch, "index": index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to do: the trainer restores its position, and that is the one in use."""


class StepwiseData(RankAwareDataModule):
    """A data module that makes the batch of every step; each of several processes takes its rows of it.

    Args:
        batch_size: Rows in one optimizer step, over all devices.
        steps_per_epoch: Optimizer steps in one epoch; None for as many as the data suffice for.
    """

    def __init__(self, batch_size: int, steps_per_epoch: int | None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return self._steps_per_epoch or self._available_steps()

    def _available_steps(self) -> int:
        """How many batches the data suffice for, where `steps_per_epoch` is None."""
        raise NotImplementedError

    def train_batch(self, step: int) -> Any:
        """This process' rows of the batch of a step of the run."""
        raise NotImplementedError

    def train_dataloader(self) -> StepBatches:
        """The training batches of this process: `steps_per_epoch` in an epoch."""
        if self.batch_size % self._world:
            raise ConfigError(f"batch_size={self.batch_size} must be a multiple of the {self._world} processes")
        return StepBatches(self.train_batch, self.steps_per_epoch, self._position)


def ready_batches(batches: Sequence[Any]) -> DataLoader[Any]:
    """A loader of batches that are complete already."""
    return DataLoader(cast("Dataset[Any]", batches), batch_size=None)


def text_batch(
    texts: Sequence[Sequence[int]],
    pad_id: int | None,
    learned: Sequence[Sequence[int]] | None = None,
    min_width: int = 1,
) -> dict[str, Tensor]:
    """Put texts into a rectangle, padded on the right, where a causal model does not see it.

    Args:
        texts: b lists of token ids.
        pad_id: What to pad with; None for any token, as the padding is masked.
        learned: For each text the positions of the tokens with loss; None for a batch without labels.
        min_width: The smallest width.

    Returns:
        `input_ids`, `attention_mask` and, with `learned`, `labels`: (b, t) int64, labels -100 where there is no loss.

    Example:
        >>> text_batch([[5, 6], [7]], pad_id=0, learned=[[1], [0]])["labels"].tolist()
        [[-100, 6], [7, -100]]
    """
    width = max([min_width, *map(len, texts)])
    input_ids = np.full((len(texts), width), pad_id or 0, dtype=np.int64)
    mask = np.zeros_like(input_ids)
    for row, ids in enumerate(texts):
        input_ids[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    arrays = {"input_ids": input_ids, "attention_mask": mask}
    if learned is not None:
        arrays["labels"] = np.full_like(input_ids, _NO_LOSS)
        for row, positions in enumerate(learned):
            arrays["labels"][row, positions] = input_ids[row, positions]
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
