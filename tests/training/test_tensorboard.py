"""The writer of TensorBoard's logger, wherever it stands among the loggers."""

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from madkit.training.tensorboard import tensorboard_writer


def trainer_with(*loggers, folder):
    return L.Trainer(accelerator="cpu", logger=list(loggers), enable_progress_bar=False, default_root_dir=folder)


@pytest.mark.parametrize("order", [1, -1])
def test_the_writer_of_the_tensorboard_logger(tmp_path, order):
    board, table = TensorBoardLogger(tmp_path / "board"), CSVLogger(tmp_path / "table")
    writer = tensorboard_writer(trainer_with(*[board, table][::order], folder=tmp_path))
    writer.add_scalar("value", 1.0, 0)
    writer.flush()
    assert list((tmp_path / "board").rglob("events.*"))


def test_other_loggers_have_none(tmp_path):
    assert tensorboard_writer(trainer_with(CSVLogger(tmp_path), folder=tmp_path)) is None
