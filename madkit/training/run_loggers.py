"""RunLoggers: curves, histograms and pictures, to each logger of a trainer as far as it can show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from madkit.training.lightning_internals import is_trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110


@runtime_checkable
class _ShowsImages(Protocol):
    """A logger with pictures, as Weights & Biases' is."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        """Log pictures under one name."""


class RunLoggers:
    """The loggers of a trainer, on the first process; elsewhere, and in a trial, nothing is logged.

    Args:
        trainer: the trainer.

    Example:
        >>> RunLoggers(L.Trainer(logger=False, accelerator="cpu", barebones=True)).show_pictures
        False
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self._loggers = list(trainer.loggers) if trainer.is_global_zero and not is_trial(trainer) else []

    @property
    def show_pictures(self) -> bool:
        """Whether one of them shows pictures, so that it is worth while to draw one."""
        return any(isinstance(logger, TensorBoardLogger | _ShowsImages) for logger in self._loggers)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A point of each curve, to all loggers.

        Args:
            values: by the name of the curve.
            step: where on the curve.
        """
        for logger in self._loggers:
            logger.log_metrics(dict(values), step)

    def histogram(self, name: str, values: NDArray[Any], step: int) -> None:
        """The distribution of some values (n,), to TensorBoard; other loggers have no such thing in common."""
        for logger in self._loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_histogram(name, values, step)

    def picture(self, name: str, figure: Figure, step: int) -> None:
        """A figure, to TensorBoard and to whatever has ``log_image``; see `show_pictures`.

        Args:
            name: what it is called.
            figure: the figure.
            step: when it was drawn.
        """
        if not self.show_pictures:
            return
        pixels = _pixels(figure)
        for logger in self._loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(name, pixels, step, dataformats="HWC")
            elif isinstance(logger, _ShowsImages):
                logger.log_image(name, [pixels], step=step)


def _pixels(figure: Figure) -> NDArray[np.uint8]:
    """The pixels (height, width, 3) of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
