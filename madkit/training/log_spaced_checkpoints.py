"""LogSpacedCheckpoints: a callback that keeps the adapter at steps that grow by a factor."""

from __future__ import annotations

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically
from madkit.training.lightning_internals import is_trial

STEPS = "steps"
"""The folder, in that of the run, that adapters are kept in; each is named by its step."""


class LogSpacedCheckpoints(Callback):
    """Keep the adapter after `first` steps of the optimizer, and whenever that number has grown by `factor`.

    Each goes to ``<run>/steps/<step>``, an adapter as `--model.adapter` takes it; the last step of the training is kept
    too. Only adapters, which take a few MB: a model that is tuned in all its weights is refused. A run that was
    interrupted continues, and has the same adapters in the end.

    Args:
        first: the first step that is kept.
        factor: from one that is kept to the next.

    Raises:
        ConfigError: `first` is less than 1, or `factor` is no number above 1.

    Example:
        >>> [step for step in range(1, 100) if LogSpacedCheckpoints(first=4, factor=2).is_due(step)]
        [4, 8, 16, 32, 64]
    """

    def __init__(self, first: int = 1, factor: float = 2.0) -> None:
        if first < 1:
            raise ConfigError(f"LogSpacedCheckpoints: first={first} is no step: give 1 or more")
        if not 1 < factor < math.inf:
            raise ConfigError(f"LogSpacedCheckpoints: factor={factor} does not grow: give a number above 1")
        self.first, self.factor = first, factor

    def is_due(self, step: int) -> bool:
        """Whether the adapter is kept after so many steps, whatever is the last one."""
        if step < self.first:
            return False
        nearest = math.log(step / self.first) / math.log(self.factor)
        return any(
            round(self.first * self.factor**k) == step for k in range(math.floor(nearest), math.ceil(nearest) + 2)
        )

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        name = getattr(pl_module, "export_name", None)
        if stage == "fit" and name != "adapter":
            raise ConfigError(
                f"LogSpacedCheckpoints keeps adapters, and {type(pl_module).__name__} leaves a whole {name}: tune a "
                "LoRA (--model.lora), or leave the callback out"
            )

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Also where a run that had ended continues, which never starts to train.
        _publish(trainer)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero and not is_trial(trainer):
            for folder in {_own(trainer), _shown(trainer)}:
                shutil.rmtree(folder, ignore_errors=True)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if self.is_due(trainer.global_step):
            _keep(trainer, pl_module)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Before ExportBest loads the best weights; and also where a run that had ended continues.
        _keep(trainer, pl_module)


def _own(trainer: L.Trainer) -> Path:
    """Where this training keeps its adapters, beside its checkpoints, which no other recipe writes to."""
    folders = [c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath]
    return Path(folders[0] if folders else trainer.default_root_dir) / STEPS


def _shown(trainer: L.Trainer) -> Path:
    """Where a run's adapters are looked for: those of the recipe that it was fitted with last."""
    return Path(trainer.default_root_dir) / STEPS


def _publish(trainer: L.Trainer) -> None:
    """Have the run's ``steps`` hold the adapters of this training alone, whatever another recipe left there."""
    own, shown = _own(trainer), _shown(trainer)
    if own == shown or not trainer.is_global_zero or is_trial(trainer):
        return
    shutil.rmtree(shown, ignore_errors=True)
    for folder in sorted(own.glob("[0-9]*")):
        write_atomically(shown / folder.name, partial(shutil.copytree, folder))


def _keep(trainer: L.Trainer, module: Any) -> None:
    """Write the adapter of the step that was made last, unless that was done after another batch of its."""
    name = f"{trainer.global_step:06d}"
    own = _own(trainer) / name
    if trainer.global_step and trainer.is_global_zero and not is_trial(trainer) and not own.exists():
        write_atomically(own, module.export)
        if (shown := _shown(trainer) / name) != own:
            write_atomically(shown, partial(shutil.copytree, own))
