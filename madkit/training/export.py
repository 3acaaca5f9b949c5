"""Callbacks of training: the best weights as an ordinary model folder, and the curves as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from madkit.runs.atomic import write_atomically, write_parquet
from madkit.training.lightning_internals import is_trial


class ExportBest(Callback):
    """After training, load the checkpoint with the best monitored value and export it into the run folder.

    Where no checkpoint monitors anything, the last weights are exported.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export from the first process; all processes end up with the best weights."""
        if is_trial(trainer):
            return
        best = next(
            (
                c.best_model_path
                for c in trainer.checkpoint_callbacks
                if isinstance(c, ModelCheckpoint) and c.monitor and c.best_model_path
            ),
            None,
        )
        if best is not None:
            checkpoint = torch.load(best, map_location="cpu", weights_only=True)
            pl_module.load_state_dict(checkpoint["state_dict"])
        if trainer.is_global_zero:
            target = Path(trainer.default_root_dir) / str(pl_module.export_name)
            write_atomically(target, pl_module.export)  # type: ignore[arg-type]
        trainer.strategy.barrier()


class History(Callback):
    """Every logged value by optimizer step, kept in the checkpoint and written as ``history.parquet``.

    Unlike event files, the table has each step once however often the run was interrupted.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, float]] = []
        self._recorded = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain lists, so that the checkpoint loads with ``weights_only=True``."""
        return {"rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the table."""
        self.rows = [(int(step), str(name), float(value)) for step, name, value in state_dict["rows"]]
        self._recorded = max((step for step, name, _ in self.rows if name == "train/loss"), default=0)

    def _record(self, trainer: L.Trainer, prefix: str) -> None:
        step = trainer.global_step
        for name, value in trainer.callback_metrics.items():
            if name.startswith(prefix) and "/" in name:
                self.rows.append((step, name, float(value)))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Record the training loss as often as the logger does."""
        step, interval = trainer.global_step, int(getattr(trainer, "log_every_n_steps", 0)) or 1
        if step > self._recorded and step % interval == 0:
            self._recorded = step
            self._record(trainer, "train/loss")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record what the validation gave."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._record(trainer, "val/")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the table."""
        if trainer.is_global_zero and not is_trial(trainer):
            table = pd.DataFrame(self.rows, columns=["step", "metric", "value"])
            table.insert(0, "run", "/".join(Path(trainer.default_root_dir).parts[-2:]))
            write_parquet(Path(trainer.default_root_dir) / "history.parquet", table)
