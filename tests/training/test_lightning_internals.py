"""What is read of Lightning beyond its documented interface is still there and means the same."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from madkit.errors import ConfigError
from madkit.training.lightning_internals import (
    batches_begun,
    datamodule_of,
    datamodule_or_none,
    distributes_samples,
    is_accumulating,
    is_trial,
)


class Data(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(torch.zeros(6, 1), batch_size=1)


class Module(L.LightningModule):
    """Records what the trainer says while it trains."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.begun, self.accumulating, self.data = [], [], []

    def training_step(self, batch, batch_idx):
        self.begun.append(batches_begun(self.trainer))
        self.data.append((datamodule_of(self), datamodule_of(self.trainer), datamodule_or_none(self)))
        return self.weight * batch.sum()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.accumulating.append(is_accumulating(self.trainer))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(folder, **options):
    return L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_what_a_training_says_of_itself(tmp_path):
    module, data = Module(), Data()
    make_trainer(tmp_path, accumulate_grad_batches=3).fit(module, datamodule=data)
    assert module.begun == [1, 2, 3, 4, 5, 6] * 2
    assert module.accumulating == [True, True, False] * 4
    assert all(found == (data, data, data) for found in module.data)


@pytest.mark.filterwarnings("ignore")
def test_dataloaders_are_no_data_module(tmp_path):
    module = Module()
    with pytest.raises(ConfigError, match="data=None"):
        make_trainer(tmp_path).fit(module, Data().train_dataloader())


@pytest.mark.parametrize("value", [True, False])
def test_options_of_the_trainer(tmp_path, value):
    trainer = make_trainer(tmp_path, use_distributed_sampler=value, fast_dev_run=value)
    assert distributes_samples(trainer) is value
    assert is_trial(trainer) is value
