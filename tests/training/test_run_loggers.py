"""Each logger of a list gets what it can show."""

import lightning as L
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from madkit.training.run_loggers import RunLoggers


class Pictures(CSVLogger):
    """With pictures, as the loggers of services have them."""

    def __init__(self, folder):
        super().__init__(folder)
        self.pictures = []

    def log_image(self, key, images, step=None):
        self.pictures.append((key, [image.shape for image in images], step))


def loggers_of(*loggers, folder, **options):
    return RunLoggers(L.Trainer(accelerator="cpu", logger=list(loggers), default_root_dir=folder, **options))


@pytest.mark.parametrize("order", [1, -1])
def test_every_logger_gets_what_it_can_show(tmp_path, order):
    board, table, service = TensorBoardLogger(tmp_path / "board"), CSVLogger(tmp_path), Pictures(tmp_path / "service")
    loggers = loggers_of(*[board, table, service][::order], folder=tmp_path)
    loggers.scalars({"a": 0.5, "b": 2.0}, 3)
    loggers.histogram("h", np.arange(9.0), 4)
    loggers.picture("p", Figure(figsize=(1, 0.5)), 5)
    for logger in (table, service):
        assert logger.experiment.metrics == [{"a": 0.5, "b": 2.0, "step": 3}]
    assert service.pictures == [("p", [(55, 110, 3)], 5)]
    board.experiment.flush()
    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("b")] == [(3, 2.0)]
    assert events.Tags()["images"] == ["p"] and events.Tags()["histograms"] == ["h"]


def test_nothing_is_drawn_for_loggers_without_pictures_or_in_a_trial(tmp_path):
    for loggers in (
        loggers_of(CSVLogger(tmp_path), folder=tmp_path),
        loggers_of(Pictures(tmp_path), folder=tmp_path, fast_dev_run=True),
    ):
        assert not loggers.show_pictures
        loggers.picture("p", None, 0)  # nor looked at
        loggers.scalars({"a": 1.0}, 0)
