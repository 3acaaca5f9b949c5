"""TensorBoardFigures in TensorBoard while the stages run: the same ones that `madkit figures` draws, of one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from madkit.runs.folder import root_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110


class TensorBoardFigures(Callback):
    """Log odds after `madkit fit`; AUROC by layer and ROC curves after `madkit test`.

    A logger without pictures gets none.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After the last validation, which repeats that of the best weights."""
        answered = getattr(pl_module, "answered", None)
        writer = _writer(trainer)
        if writer is None or answered is None or trainer.state.fn != "validate":
            return
        from madkit.figures.drawing import style
        from madkit.figures.families.log_odds import picture

        folder = root_of(trainer)
        with style.applied():
            figure = picture(folder.parent.name, answered.assign(dataset=folder.name))
            _add(writer, "log_odds", figure, trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What the results of this run look like."""
        writer = _writer(trainer)
        root = root_of(trainer)
        if writer is None or not (root / "detection" / "results.parquet").is_file():
            return
        from madkit.figures.drawing import style

        with style.applied():
            for name, figure in _of_run(root):
                _add(writer, name, figure, 0)


def _of_run(root: Path) -> Iterator[tuple[str, Figure]]:
    from matplotlib.figure import Figure

    from madkit.figures.families import auroc_layers, roc
    from madkit.figures.results.results import load

    results = load([root])
    for draw in (auroc_layers.auroc_layers, roc.roc_curves):
        for sheet in draw(results):
            if isinstance(sheet.body, Figure) and not sheet.aside:
                yield sheet.name.removesuffix(f"_{results.slug(sheet.model or '')}"), sheet.body


def _writer(trainer: L.Trainer) -> Any:
    """TensorBoard's writer on the first process; None elsewhere, and for other loggers."""
    writer: Any = getattr(trainer.logger, "experiment", None)
    return writer if trainer.is_global_zero and hasattr(writer, "add_image") else None


def _add(writer: Any, name: str, figure: Figure, step: int) -> None:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    writer.add_image(name, np.asarray(canvas.buffer_rgba())[..., :3], step, dataformats="HWC")
