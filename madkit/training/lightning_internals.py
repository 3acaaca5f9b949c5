"""What madkit reads of a Lightning trainer beyond its documented interface; no other file of madkit does.

A test runs a trainer through each function, so that a release of Lightning that moves one of these is noticed.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import GradClipAlgorithmType

from madkit.errors import ConfigError


def datamodule_of(owner: L.LightningModule | L.Trainer, kind: type = L.LightningDataModule) -> Any:
    """The data module that a trainer runs with. Lightning sets it without declaring it.

    Args:
        owner: the trainer, or a module that is attached to one.
        kind: the class of data, or the protocol, that the model needs; the caller annotates its variable with it.

    Raises:
        ConfigError: the data are of another class, or the trainer was given dataloaders instead.
    """
    trainer: Any = owner.trainer if isinstance(owner, L.LightningModule) else owner
    data = trainer.datamodule
    if not isinstance(data, kind):
        given, module = data and type(data).__name__, type(trainer.lightning_module).__name__
        raise ConfigError(f"data={given} does not fit model={module}, which reads data={kind.__name__}")
    return data


def datamodule_or_none(owner: L.LightningModule) -> Any:
    """The data module that the trainer of a module runs with; None where it was given dataloaders instead."""
    trainer: Any = owner.trainer
    return trainer.datamodule


def is_trial(trainer: L.Trainer) -> bool:
    """Whether this is only a trial of a few batches (``fast_dev_run``), which leaves no results."""
    undeclared: Any = trainer
    return bool(undeclared.fast_dev_run)


def steps_between_logs(trainer: L.Trainer) -> int:
    """Optimizer steps between two values of a logged curve (``log_every_n_steps``); 1 where nothing is logged."""
    undeclared: Any = trainer
    return int(undeclared.log_every_n_steps) or 1


def distributes_samples(trainer: L.Trainer) -> bool:
    """Whether Lightning shares out the samples of each dataloader over the processes by itself."""
    return bool(trainer._accelerator_connector.use_distributed_sampler)


def forward_sigterm(trainer: L.Trainer) -> None:
    """On SIGTERM have Lightning end its other processes, and leave this one to the handler that is there before.

    Its own way is a flag that training looks at after a batch and prediction never does, and a broadcast in the
    handler, which waits for processes that are not there to hear it.
    """
    trainer._signal_connector._sigterm_notifier_fn = lambda *_: end_children(trainer)  # type: ignore[method-assign]


def end_children(trainer: L.Trainer) -> None:
    """Ask the processes that Lightning has started to end, as this one is about to."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            observer: Any = thread
            observer._run = lambda: True  # it would kill this process too
    launcher: Any = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGTERM)


def batches_begun(trainer: L.Trainer) -> int:
    """How many micro-batches of the current epoch have been drawn; after a restart, as the checkpoint says."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)


def recount_batches(trainer: L.Trainer, before: int, now: int) -> None:
    """Count micro-batches anew after a restart, where an optimizer step has `now` of them that had `before`.

    How far training has come, when it validates and when an epoch ends are all told in micro-batches. A step that was
    in the middle is done again, since no checkpoint holds half of its gradients.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    for counts in (progress.current, progress.total):
        begun = counts.ready // before * now
        # By whether the last batch is over, Lightning knows where it stopped.
        for name, count in vars(counts).items():
            setattr(counts, name, begun - (counts.ready - count) if name != "ready" else count)
        counts.ready = begun


def is_accumulating(trainer: L.Trainer) -> bool:
    """Whether the last micro-batch only added to the gradients, so that the optimizer has yet to step."""
    return bool(trainer.fit_loop._should_accumulate())


def clip_gradients(
    trainer: L.Trainer, optimizer: torch.optim.Optimizer, value: float, algorithm: str | None = None
) -> None:
    """Clip the gradients of an optimizer, as the trainer's precision demands.

    Under mixed precision Lightning refuses fused optimizers, because it takes their gradients to carry the loss scale
    until they step. With bfloat16 there is no loss scale; with float16 `unscale_gradients` has taken it out.

    Args:
        trainer: the trainer.
        optimizer: the optimizer.
        value: the largest norm, or the largest absolute value.
        algorithm: ``norm`` or ``value``; None for ``norm``.
    """
    plugin, kind = trainer.precision_plugin, GradClipAlgorithmType(algorithm or "norm")
    if isinstance(plugin, MixedPrecision):
        super(MixedPrecision, plugin).clip_gradients(optimizer, value, kind)
    else:
        plugin.clip_gradients(optimizer, value, kind)


def unscale_gradients(trainer: L.Trainer, optimizer: torch.optim.Optimizer) -> None:
    """Take the loss scale of ``16-mixed`` out of gradients, where Lightning leaves that to the optimizer's step.

    A fused optimizer's step divides by the loss scale unless that has been done; torch keeps account of it.

    Args:
        trainer: the trainer.
        optimizer: the optimizer, between the backward pass and the step.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scaler.unscale_(optimizer)
