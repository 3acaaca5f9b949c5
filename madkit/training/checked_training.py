"""CheckedTraining: a callback that ends a training which cannot give weights, as early as that shows."""

from __future__ import annotations

import difflib
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.training.lightning_internals import steps_between_logs


class CheckedTraining(Callback):
    """Refuse monitors of values that nothing logs, and losses that are not finite.

    Lightning's trial of two validation batches, before the first step, logs what any validation logs; so that is when
    a monitor of `val/losss` is found. The loss is looked at whenever it is logged, and at the end.
    """

    def __init__(self) -> None:
        self.loss: Tensor | None = None
        """The last one that the module recorded."""

    @override
    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        undeclared: Any = trainer
        logged = [*trainer.callback_metrics, "train/loss"]
        for callback in undeclared.callbacks:
            monitor = getattr(callback, "monitor", None)
            if not isinstance(monitor, str) or monitor in logged or monitor.startswith("train/"):
                continue
            close = difflib.get_close_matches(monitor, logged, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(sorted(logged)[:12])}"
            raise ConfigError(f"{type(callback).__name__}: monitor={monitor!r} is logged by nothing; {hint}")

    @override
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step % steps_between_logs(trainer) == 0:
            self._require_finite(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._require_finite(trainer)

    def _require_finite(self, trainer: L.Trainer) -> None:
        if self.loss is not None and not bool(torch.isfinite(self.loss).all()):
            raise DataError(
                f"training loss is NaN or infinite after step {trainer.global_step}: lower the learning rate "
                "(--model.optimizer.lr), or choose another --trainer.precision"
            )
        self.loss = None
