"""What madkit reads of a Lightning trainer beyond its documented interface; no other file of madkit does.

A test runs a trainer through each function, so that a release of Lightning that moves one of these is noticed.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from madkit.errors import ConfigError


def datamodule_of(owner: L.LightningModule | L.Trainer) -> Any:
    """The data module that a trainer runs with. Lightning sets it without declaring it.

    Args:
        owner: the trainer, or a module that is attached to one.

    Returns:
        The data module. Annotate the variable that takes it with the class or protocol that the caller relies on.

    Raises:
        ConfigError: the trainer was given dataloaders instead.
    """
    trainer: Any = owner.trainer if isinstance(owner, L.LightningModule) else owner
    if trainer.datamodule is None:
        raise ConfigError("data=None: this needs a data module; name one under `data:` or give `datamodule=`")
    return trainer.datamodule


def is_trial(trainer: L.Trainer) -> bool:
    """Whether this is only a trial of a few batches (``fast_dev_run``), which leaves no results."""
    undeclared: Any = trainer
    return bool(undeclared.fast_dev_run)


def distributes_samples(trainer: L.Trainer) -> bool:
    """Whether Lightning shares out the samples of each dataloader over the processes by itself."""
    return bool(trainer._accelerator_connector.use_distributed_sampler)


def batches_begun(trainer: L.Trainer) -> int:
    """How many micro-batches of the current epoch have been drawn; after a restart, as the checkpoint says."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)


def is_accumulating(trainer: L.Trainer) -> bool:
    """Whether the last micro-batch only added to the gradients, so that the optimizer has yet to step."""
    return bool(trainer.fit_loop._should_accumulate())
