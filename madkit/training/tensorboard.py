"""TensorBoard's writer, where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard_writer(trainer: L.Trainer) -> SummaryWriter | None:
    """The writer of a trainer's TensorBoard logger, on the first process; None elsewhere, and for other loggers.

    Example:
        >>> tensorboard_writer(L.Trainer(logger=False, accelerator="cpu", barebones=True)) is None
        True
    """
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                return logger.experiment
    return None
