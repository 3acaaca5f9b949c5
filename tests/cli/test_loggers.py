"""Loggers that a recipe names, one or several: each gets curves, and pictures where it has them."""

import csv
import json

import pytest
from small_stores import write_stores
from stage_words import configs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from madkit.cli.command import main

LOGGER = '''
from pathlib import Path
from lightning.pytorch.loggers import CSVLogger


class ServiceLogger(CSVLogger):
    """With pictures, as the loggers of services have them."""

    def log_image(self, key, images, step=None):
        with Path(self.root_dir, "pictures.txt").open("a") as file:
            file.writelines(f"{step} {key} {image.ndim}\\n" for image in images)
'''


@pytest.fixture(scope="module")
def logs(bases, tmp_path_factory):
    """The folder of the logs of a fit and a test with three loggers in a list, by stage."""
    root = tmp_path_factory.mktemp("logs")
    (root / "service_logger.py").write_text(LOGGER)
    detector = {"feature": "activations", "score": {"class_path": "Mahalanobis"}}
    test = {
        "model": {"class_path": "Detection", "init_args": {"detectors": [detector], "ceiling": False}},
        "data": {"class_path": "StoreData", "init_args": {"dataset": "addition"}},
    }
    (root / "test.yaml").write_text(json.dumps(test))
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.log_every_n_steps", "1"]
    short += [
        "--data.task_options",
        json.dumps({"n_train": 400, "n_validation": 100, "n_test": 0}),
        "--data.max_validation",
        "16",
    ]
    write_stores(root / "runs" / "test" / "addition")
    words = {
        "fit": [*configs("llama"), "--model.base", bases["llama"], *short],
        "test": ["--config", root / "test.yaml"],
    }
    for stage, options in words.items():
        kinds = ["CSVLogger", "TensorBoardLogger", "service_logger.ServiceLogger"]
        listed = [
            {"class_path": kind, "init_args": {"save_dir": str(root / stage), "name": kind, "version": ""}}
            for kind in kinds
        ]
        (root / "loggers.yaml").write_text(json.dumps({"trainer": {"logger": listed}}))
        beside = [
            "--config",
            root / "loggers.yaml",
            "--run",
            root / "runs" / stage,
            "--with",
            root / "service_logger.py",
        ]
        assert main([str(word) for word in (stage, *options, *beside)]) == 0
    return root


def curves(folder):
    with (folder / "metrics.csv").open() as file:
        return {name for row in csv.DictReader(file) for name, value in row.items() if value}


@pytest.mark.parametrize(
    ("stage", "some"),
    [
        ("fit", {"train/loss", "val/loss", "learning_rate/pg1"}),
        ("test", {f"auroc_by_layer/activations/mahalanobis/{subset}" for subset in ("all", "agree", "disagree")}),
    ],
)
def test_each_logger_has_the_curves(logs, stage, some):
    board = EventAccumulator(str(logs / stage / "TensorBoardLogger"))
    board.Reload()
    scalars = set(board.Tags()["scalars"])
    assert some <= {*scalars, *(f"{name}/pg1" for name in scalars)}
    for kind in ("CSVLogger", "service_logger.ServiceLogger"):
        assert scalars - {"hp_metric"} == curves(logs / stage / kind) - {"step"}


@pytest.mark.parametrize(("stage", "name"), [("fit", "log_odds"), ("test", "roc_online")])
def test_pictures_are_where_a_logger_shows_them(logs, stage, name):
    board = EventAccumulator(str(logs / stage / "TensorBoardLogger"))
    board.Reload()
    shown = (logs / stage / "service_logger.ServiceLogger" / "pictures.txt").read_text()
    assert name in board.Tags()["images"] and f" {name} 3\n" in shown
    assert len(shown.splitlines()) == len(board.Tags()["images"])


def test_a_logger_whose_package_is_missing_is_told_in_a_line(logs, monkeypatch, capsys):
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", Missing())
    words = ["test", "--config", logs / "test.yaml", "--run", logs / "runs" / "test", "--trainer.logger", "WandbLogger"]
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "WandbLogger needs a package" in line and "pip install 'wandb>=0.12.10'" in line


class Missing:
    def __bool__(self):
        return False

    def __str__(self):
        return "Requirement 'wandb>=0.12.10' not met. HINT: Try running `pip install -U 'wandb>=0.12.10'`"
