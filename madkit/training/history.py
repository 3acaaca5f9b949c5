"""History: a callback that keeps the curves of a training as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from madkit.runs.tables import write_parquet
from madkit.training.lightning_internals import is_trial, steps_between_logs


class History(Callback):
    """Every logged value by optimizer step, kept in the checkpoint and written as ``history.parquet``.

    Unlike event files, the table has each step once however often the run was interrupted.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, float]] = []
        self._last_step = 0

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self.rows]}  # lists, so that it loads with `weights_only=True`

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [(int(step), str(name), float(value)) for step, name, value in state_dict["rows"]]
        self._last_step = max((step for step, name, _ in self.rows if name == "train/loss"), default=0)

    def _record(self, trainer: L.Trainer, prefix: str) -> None:
        step = trainer.global_step
        for name, value in trainer.callback_metrics.items():
            if name.startswith(prefix) and "/" in name:
                self.rows.append((step, name, float(value)))

    @override
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step > self._last_step and step % steps_between_logs(trainer) == 0:
            self._last_step = step
            self._record(trainer, "train/")

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._record(trainer, "val/")

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not is_trial(trainer):
            table = pd.DataFrame(self.rows, columns=["step", "metric", "value"])
            table.insert(0, "run", "/".join(Path(trainer.default_root_dir).parts[-2:]))
            write_parquet(Path(trainer.default_root_dir) / "history.parquet", table)
