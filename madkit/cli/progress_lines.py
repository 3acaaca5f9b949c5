"""Progress as plain lines, for logs and for several stages side by side in one terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from madkit.runs.folder import stage_of
from madkit.runs.progress import ProgressLine


class ProgressLines(ProgressBar):
    """One line every few seconds: which run, how far, the latest metrics, the time left.

    Chosen instead of Lightning's bar where standard error is no terminal, or with ``MADKIT_PROGRESS=lines``.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = 5.0) -> None:
        super().__init__()
        self._line = ProgressLine(every)
        self._enabled = True

    def disable(self) -> None:
        """Print nothing (Lightning calls this on all processes but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def _show(self, trainer: L.Trainer, done: int, total: float, *, force: bool = False) -> None:
        if not self._enabled:
            return
        folder = Path(trainer.default_root_dir)
        name = f"{folder.parent.name}/{folder.name} {stage_of(trainer)}"
        metrics = "".join(f"  {k} {float(v):.4g}" for k, v in trainer.progress_bar_metrics.items() if k != "v_num")
        self._line.show(name, done, total, metrics, force=force)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; a resumed run starts where it stopped."""
        super().on_train_start(trainer, pl_module)
        self._line.start(trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Report optimizer steps."""
        self._show(trainer, trainer.global_step, trainer.estimated_stepping_batches)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report where training ended, which early stopping may have done ahead of time."""
        self._show(trainer, trainer.global_step, trainer.estimated_stepping_batches, force=True)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._line.start()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Report batches."""
        self._show(trainer, batch_idx + 1, trainer.num_predict_batches[dataloader_idx])

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._line.start()

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Report sites; the batches within one are quick."""
        sites = trainer.num_test_batches
        self._show(trainer, sum(map(int, sites[:dataloader_idx])) + batch_idx + 1, sum(sites))
