"""Figures in the loggers while the stages run: the same ones that `madkit figures` draws, of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import lightning as L
from lightning.pytorch.callbacks import Callback

from madkit.runs.folder import root_of
from madkit.training.run_loggers import RunLoggers

if TYPE_CHECKING:
    import pandas as pd

_FAMILIES = ("auroc_layers", "roc_curves")


@runtime_checkable
class _KeepsAnswers(Protocol):
    """A module that keeps what it answered in the last validation."""

    validation_answers: pd.DataFrame | None
    """A row per answer."""


class LoggedFigures(Callback):
    """Log odds after `madkit fit`; AUROC by layer and ROC curves after `madkit test`.

    A logger that cannot show pictures gets none.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After the last validation, which repeats that of the best weights."""
        answers = pl_module.validation_answers if isinstance(pl_module, _KeepsAnswers) else None
        loggers = RunLoggers(trainer)
        if not loggers.show_pictures or answers is None or trainer.state.fn != "validate":
            return
        # Here and not above: matplotlib is for the process that draws.
        from madkit.figures.drawing import style
        from madkit.figures.families.log_odds import log_odds_figure

        folder = root_of(trainer)
        table = answers.assign(dataset=folder.name)
        with style.applied():
            loggers.picture("log_odds", log_odds_figure(folder.parent.name, table), trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The results of this run, if this process has written them."""
        loggers = RunLoggers(trainer)
        folder = root_of(trainer)
        if not loggers.show_pictures or not (folder / "detection" / "results.parquet").is_file():
            return
        from madkit.figures.study import figures_of_run

        for name, figure in figures_of_run(folder, _FAMILIES):
            loggers.picture(name, figure, 0)
