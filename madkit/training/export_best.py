"""ExportBest: a callback that leaves the best weights as an ordinary folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from safetensors import SafetensorError, safe_open
from typing_extensions import override

from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically
from madkit.training.checkpoint_files import CheckpointFiles, load
from madkit.training.lightning_internals import is_trial


class ExportBest(Callback):
    """After training, load the checkpoint with the best monitored value and export it into the run folder.

    Where no checkpoint monitors anything, the last weights are exported. All processes end up with the exported
    weights; the first one writes them. A run that was interrupted after its last step does only that when it continues.
    """

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have checkpoints written and read whole, unless the trainer was given another way."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that had stopped early when it was interrupted has nothing more to learn."""
        stops = [c for c in trainer.callbacks if isinstance(c, EarlyStopping)]  # type: ignore[attr-defined]
        if any(c.stopping_reason is not EarlyStoppingReason.NOT_STOPPED for c in stops):
            trainer.should_stop = True

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Not when the training ends, which Lightning does not say of one that had ended before.
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
            pl_module.load_state_dict(load(Path(best))["state_dict"])
        if trainer.is_global_zero:
            module: Any = pl_module
            _require_readable(write_atomically(Path(trainer.default_root_dir) / module.export_name, module.export))
        trainer.strategy.barrier()


def _require_readable(folder: Path) -> None:
    """Look whether the weights that were exported can be read.

    Raises:
        StoreError: they cannot.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                empty = not list(file.keys())
        except (OSError, SafetensorError):
            empty = True
        if empty:
            raise StoreError(f"{str(path)!r} could not be read back after it was written: look at the disk")
