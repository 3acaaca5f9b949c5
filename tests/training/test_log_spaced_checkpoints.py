"""The adapters of one training at steps that grow by a factor: the right ones, whatever interrupts it."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from madkit.errors import ConfigError
from madkit.training.log_spaced_checkpoints import LogSpacedCheckpoints
from madkit.training.training_module import TrainingModule

#: Every batch is the same, since the place in an epoch is kept by the data of madkit and not by a plain loader.
ROWS = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).repeat(16, 1)

pytestmark = pytest.mark.filterwarnings("ignore")


class OneLine(TrainingModule):
    """A linear map that stands for an adapter; `stop` is the batch at which it is killed."""

    def __init__(self, export_name="adapter", stop=None):
        super().__init__(lambda p: torch.optim.Adam(p, lr=0.1), warmup=0.0, decay=0.0)
        self.export_name, self.stop, self.line = export_name, stop, None
        self.seen = {}

    def configure_model(self):
        if self.line is None:
            torch.manual_seed(0)
            self.line = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        if batch_idx == self.stop:
            raise RuntimeError("killed")
        self.seen[self.global_step] = self.line.weight.detach().clone()
        loss = (self.line(batch[0]) - 3).square().mean()
        self.record_loss(loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", (self.line(batch[0]) - 3).square().mean())

    def export(self, folder):
        folder.mkdir()
        torch.save(self.line.weight.detach(), folder / "weights.pt")


def fit(module, folder, keep, checkpoint=None, checkpoints="checkpoints", **options):
    last = ModelCheckpoint(folder / checkpoints, save_last=True, every_n_train_steps=3)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=1,
        default_root_dir=folder, callbacks=[keep, last], **options,
    )  # fmt: skip
    batches = DataLoader(TensorDataset(ROWS), batch_size=2)
    trainer.fit(module, batches, batches, ckpt_path=checkpoint, weights_only=True)


def kept(folder):
    paths = sorted((folder / "steps").iterdir())
    return {int(path.name): torch.load(path / "weights.pt") for path in paths}


def test_weights_of_each_step_and_of_the_last(tmp_path):
    module = OneLine()
    fit(module, tmp_path, LogSpacedCheckpoints(first=2, factor=2))
    found = kept(tmp_path)
    assert list(found) == [2, 4, 8, 16]
    for step in (2, 4, 8):
        torch.testing.assert_close(found[step], module.seen[step], rtol=0, atol=0)
    torch.testing.assert_close(found[16], module.line.weight.detach(), rtol=0, atol=0)


def test_factors_need_not_be_whole(tmp_path):
    fit(OneLine(), tmp_path, LogSpacedCheckpoints(factor=1.5), accumulate_grad_batches=2)
    assert list(kept(tmp_path)) == [1, 2, 3, 5, 8]  # 1, 1.5, 2.25, 3.4, 5.1, 7.6


def test_a_killed_run_has_the_same_in_the_end(tmp_path):
    fit(OneLine(), tmp_path / "whole", LogSpacedCheckpoints())
    with pytest.raises(RuntimeError, match="killed"):
        fit(OneLine(stop=5), tmp_path / "killed", LogSpacedCheckpoints())
    fit(OneLine(), tmp_path / "killed", LogSpacedCheckpoints(), tmp_path / "killed" / "checkpoints" / "last.ckpt")
    whole, killed = kept(tmp_path / "whole"), kept(tmp_path / "killed")
    assert list(whole) == list(killed) == [1, 2, 4, 8, 16]
    assert all(torch.equal(whole[step], killed[step]) for step in whole)


def test_another_recipe_leaves_nothing_of_the_last_one(tmp_path):
    fit(OneLine(), tmp_path, LogSpacedCheckpoints())
    fit(OneLine(), tmp_path, LogSpacedCheckpoints(first=5, factor=3), max_steps=7)
    assert list(kept(tmp_path)) == [5, 7]


def test_a_recipe_that_comes_back_has_its_own_again(tmp_path):
    first = {"keep": LogSpacedCheckpoints(), "checkpoints": "checkpoints/first", "max_steps": 8}
    fit(OneLine(), tmp_path, **first)
    before = kept(tmp_path)
    slower = OneLine()
    slower.optimizer = lambda parameters: torch.optim.Adam(parameters, lr=0.01)
    fit(slower, tmp_path, LogSpacedCheckpoints(), checkpoints="checkpoints/second")
    assert not torch.equal(kept(tmp_path)[4], before[4])
    fit(OneLine(), tmp_path, checkpoint=tmp_path / "checkpoints/first/last.ckpt", **first)
    after = kept(tmp_path)
    assert list(after) == list(before) == [1, 2, 4, 8]
    assert all(torch.equal(after[step], before[step]) for step in before)


def test_a_trial_keeps_nothing(tmp_path):
    fit(OneLine(), tmp_path, LogSpacedCheckpoints(), fast_dev_run=True)
    assert not (tmp_path / "steps").exists()


@pytest.mark.parametrize("options", [{"first": 0}, {"factor": 1.0}, {"factor": float("nan")}])
def test_steps_that_do_not_grow_are_refused(options):
    with pytest.raises(ConfigError, match=r"LogSpacedCheckpoints: \w+="):
        LogSpacedCheckpoints(**options)


def test_only_adapters_are_kept(tmp_path):
    with pytest.raises(ConfigError, match=r"keeps adapters, and OneLine leaves a whole model: tune a LoRA"):
        fit(OneLine("model"), tmp_path, LogSpacedCheckpoints())
