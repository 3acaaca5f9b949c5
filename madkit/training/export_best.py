"""ExportBest: a callback that leaves the best weights as an ordinary folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from typing_extensions import override

from madkit.runs.atomic import write_atomically
from madkit.training.lightning_internals import is_trial


class ExportBest(Callback):
    """After training, load the checkpoint with the best monitored value and export it into the run folder.

    Where no checkpoint monitors anything, the last weights are exported. All processes end up with the exported
    weights; the first one writes them.
    """

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
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
            module: Any = pl_module
            write_atomically(Path(trainer.default_root_dir) / module.export_name, module.export)
        trainer.strategy.barrier()
