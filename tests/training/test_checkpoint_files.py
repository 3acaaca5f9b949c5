"""A run continues from a checkpoint that is whole, and ends as it would have without the interruption."""

import shutil

import lightning as L
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, TensorDataset

from madkit.errors import StoreError
from madkit.training import checkpoint_files
from madkit.training.training_module import TrainingModule

ROWS = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))


class LineFit(TrainingModule):
    """Fits a linear map; its validation loss stops falling."""

    export_name = "line"
    breaks_in_export = False

    def __init__(self):
        super().__init__(lambda p: torch.optim.Adam(p, lr=0.3), warmup=0.0, decay=0.0)
        self.line = None

    def configure_model(self):
        if self.line is None:
            torch.manual_seed(0)
            self.line = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        loss = (self.line(batch[0]) - 1).square().mean()
        self.record_loss(loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", (self.line(batch[0]) - 0.5).square().mean())

    def export(self, folder):
        folder.mkdir()
        if self.breaks_in_export:
            raise KeyboardInterrupt
        save_file(self.line.state_dict(), folder / "line.safetensors")


def fit(root, *, breaks_in_export=False, threshold=None):
    loader = DataLoader(TensorDataset(ROWS), batch_size=24)
    folder = root / "checkpoints" / "key"
    last = checkpoint_files.to_continue(folder, remove=True)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=40, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=root, val_check_interval=1, num_sanity_val_steps=0, log_every_n_steps=1,
        callbacks=[
            EarlyStopping("val/loss", patience=3, stopping_threshold=threshold),
            ModelCheckpoint(folder, monitor="val/loss", filename="best", save_last=True),
        ],
    )  # fmt: skip
    module = LineFit()
    module.breaks_in_export = breaks_in_export
    trainer.fit(module, loader, loader, ckpt_path=last)
    return trainer.global_step


def left(root):
    history = pd.read_parquet(root / "history.parquet").drop(columns="run")
    return load_file(root / "line" / "line.safetensors"), history


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    steps = fit(root)
    assert 1 < steps < 40  # it stops early
    return left(root), steps


def same(root, undisturbed):
    (weights, history), (expected, rows) = left(root), undisturbed[0]
    return all(torch.equal(weights[k], expected[k]) for k in expected) and history.equals(rows)


def test_what_is_interrupted_while_it_exports_exports_when_it_continues(undisturbed, tmp_path):
    with pytest.raises(SystemExit):  # Lightning's answer to the exception
        fit(tmp_path, breaks_in_export=True)
    assert not (tmp_path / "line").exists()
    assert fit(tmp_path) == undisturbed[1]
    assert same(tmp_path, undisturbed)


def test_what_had_stopped_early_trains_no_further_when_it_continues(tmp_path):
    with pytest.raises(SystemExit):
        fit(tmp_path, breaks_in_export=True, threshold=0.2)
    assert fit(tmp_path, threshold=0.2) == 2
    assert left(tmp_path)[1]["step"].max() == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_not_continued(undisturbed, tmp_path, damage):
    fit(tmp_path)
    last = tmp_path / "checkpoints" / "key" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 3] ^= 1
    last.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    with pytest.raises(StoreError, match=r"last\.ckpt.*damaged"):
        checkpoint_files.load(last)
    with pytest.warns(UserWarning, match=r"last\.ckpt.* an earlier one is used"):
        assert fit(tmp_path) == undisturbed[1]
    assert same(tmp_path, undisturbed)
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.filterwarnings("ignore:.*an earlier one is used")
def test_without_the_best_weights_a_run_starts_anew(undisturbed, tmp_path):
    fit(tmp_path)
    (tmp_path / "checkpoints" / "key" / "best.ckpt").write_bytes(b"")
    assert fit(tmp_path) == undisturbed[1]
    assert same(tmp_path, undisturbed)


def test_a_run_folder_may_be_moved(undisturbed, tmp_path):
    with pytest.raises(SystemExit):
        fit(tmp_path / "a", breaks_in_export=True)
    (tmp_path / "a").rename(tmp_path / "b")
    fit(tmp_path / "b")
    assert same(tmp_path / "b", undisturbed)


def test_nothing_but_the_checkpoint_is_left_and_it_has_the_permissions_of_the_umask(tmp_path):
    fit(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"best.ckpt", "last.ckpt", "history.parquet", "line.safetensors"}
    plain = tmp_path / "plain"
    plain.write_text("")
    assert {path.stat().st_mode for path in files} == {plain.stat().st_mode}


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    for name, content in {"a.ckpt": {"x": 1}, "b.ckpt": {"state_dict": shutil.rmtree}}.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(StoreError, match=rf"{name}.* no checkpoint"):
            checkpoint_files.load(tmp_path / name)


def test_the_weights_that_a_fit_has_left_are_the_best_ones_or_the_last(tmp_path):
    fit(tmp_path)
    folder = tmp_path / "checkpoints" / "key"
    kept = checkpoint_files.kept_checkpoint(folder)
    assert kept.name.startswith("best")
    exported, weights = load_file(tmp_path / "line" / "line.safetensors"), checkpoint_files.load(kept)["state_dict"]
    assert all(torch.equal(weights[f"line.{name}"], value) for name, value in exported.items())
    kept.unlink()
    assert checkpoint_files.kept_checkpoint(folder).name == "last.ckpt"
    assert checkpoint_files.kept_checkpoint(tmp_path) is None
