"""One training base: the loss of the effective batch, clipping at every precision, export, strict checkpoints."""

import lightning as L
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, TensorDataset

from madkit.errors import ConfigError, DataError
from madkit.training.training_module import TrainingModule

ROWS = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))


class LineFit(TrainingModule):
    """Fits a linear map; records the gradients that the optimizer steps with."""

    export_name = "line"

    def __init__(self, optimizer=torch.optim.SGD, width=3):
        super().__init__(lambda p: optimizer(p, lr=0.1), warmup=0.0, decay=0.0)
        self.width = width
        self.line = None
        self.losses, self.norms = [], []

    def configure_model(self):
        if self.line is None:
            torch.manual_seed(0)
            self.line = torch.nn.Linear(self.width, 1)

    def training_step(self, batch, batch_idx):
        loss = (self.line(batch[0]) - 30).square().mean()
        self.record_loss(loss)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/bias", self.line.bias.mean())

    def optimizer_step(self, epoch, batch_idx, optimizer, closure):
        hook = optimizer.register_step_pre_hook(self._record_norm)
        super().optimizer_step(epoch, batch_idx, optimizer, closure)
        hook.remove()

    def _record_norm(self, optimizer, args, kwargs):
        closure = kwargs.get("closure")
        if closure is not None:  # without a loss scale the step runs the closure; do it here to see its gradients
            closure()
            kwargs = {**kwargs, "closure": None}
        scale = getattr(optimizer, "grad_scale", None)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.line.parameters() if p.grad is not None])
        self.norms.append(float(norm) / (1.0 if scale is None else float(scale)))
        return args, kwargs

    def export(self, folder):
        folder.mkdir()
        torch.save(self.line.state_dict(), folder / "line.pt")


def fused_sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr, fused=True)


def fit(module, folder, callbacks=(), checkpoint=None, **options):
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=bool(callbacks), enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, log_every_n_steps=1, callbacks=list(callbacks),
        **{"max_epochs": 1, **options},
    )  # fmt: skip
    batches = DataLoader(TensorDataset(ROWS), batch_size=4)
    trainer.fit(module, batches, batches, ckpt_path=checkpoint, weights_only=True)
    return trainer


pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_loss_of_the_effective_batch_is_logged_once_a_step(tmp_path):
    module = LineFit()
    fit(module, tmp_path, accumulate_grad_batches=2)
    table = pd.read_parquet(tmp_path / "history.parquet")
    rows = table[table["metric"] == "train/loss"]
    assert rows["step"].tolist() == [1, 2, 3]
    expected = torch.tensor(module.losses).view(3, 2).mean(1)
    torch.testing.assert_close(torch.tensor(rows["value"].to_numpy()), expected.double())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_fused_optimizers_are_clipped_like_others(tmp_path, precision, algorithm):
    options = {"precision": precision, "gradient_clip_val": 0.5, "gradient_clip_algorithm": algorithm}
    plain, fused = LineFit(), LineFit(fused_sgd)
    fit(plain, tmp_path / "plain", **options)
    fit(fused, tmp_path / "fused", **options)
    most = 0.5 if algorithm == "norm" else 0.5 * 4**0.5
    assert len(fused.norms) == 6 and all(norm <= most * 1.001 for norm in fused.norms)
    torch.testing.assert_close(fused.line.weight, plain.line.weight)
    torch.testing.assert_close(fused.line.bias, plain.line.bias)
    unclipped = LineFit(fused_sgd)
    fit(unclipped, tmp_path / "unclipped", precision=precision)
    assert min(unclipped.norms) > 10


def test_a_loss_scale_is_taken_out_before_clipping(tmp_path):
    results = []
    for optimizer in (torch.optim.SGD, fused_sgd):
        module = LineFit(optimizer)
        precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
        fit(module, tmp_path / str(len(results)), plugins=[precision], gradient_clip_val=0.5)
        assert len(module.norms) == 6 and all(abs(norm - 0.5) < 0.01 for norm in module.norms)
        results.append(module.line.weight)
    torch.testing.assert_close(results[0], results[1])


def test_a_monitor_of_nothing_is_found_before_the_first_step(tmp_path):
    for callback in (ModelCheckpoint(tmp_path, monitor="val/biass"), EarlyStopping("val/biass")):
        module = LineFit()
        with pytest.raises(ConfigError, match=r"monitor='val/biass' is logged by nothing; did you mean 'val/bias'"):
            fit(module, tmp_path, [ModelCheckpoint(tmp_path / "last"), callback])
        assert not module.losses


@pytest.mark.parametrize("options", [{}, {"limit_val_batches": 0}])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, options):
    class Diverging(LineFit):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * (1.0 if batch_idx < 2 else float("nan"))

        def record_loss(self, loss):
            super().record_loss(loss if len(self.losses) < 3 else loss * float("nan"))

    with pytest.raises(DataError, match="training loss is NaN or infinite after step 4"):
        fit(Diverging(), tmp_path, **options)
    assert not (tmp_path / "line").exists()


def test_an_optimizer_that_does_not_take_its_options_is_one_line(tmp_path):
    module = LineFit()
    module.optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=-1.0)
    with pytest.raises(ConfigError, match="model.optimizer does not take its options .*Invalid learning rate: -1.0"):
        fit(module, tmp_path)


def test_the_best_weights_are_exported(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="val/bias", mode="min", filename="best")
    module = LineFit()
    fit(module, tmp_path, [best], max_epochs=3)
    stored = torch.load(tmp_path / "line" / "line.pt", weights_only=True)
    chosen = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    assert torch.equal(stored["weight"], chosen["line.weight"]) and torch.equal(stored["bias"], module.line.bias)


def test_the_last_weights_are_exported_where_nothing_is_monitored(tmp_path):
    module = LineFit()
    fit(module, tmp_path)
    stored = torch.load(tmp_path / "line" / "line.pt", weights_only=True)
    assert torch.equal(stored["weight"], module.line.weight)


def test_a_trial_leaves_nothing(tmp_path):
    fit(LineFit(), tmp_path, fast_dev_run=True)
    assert not (tmp_path / "line").exists() and not (tmp_path / "history.parquet").exists()


def test_a_resumed_run_continues_its_curves(tmp_path):
    last = ModelCheckpoint(tmp_path, save_last=True)
    fit(LineFit(), tmp_path / "first", [last], max_epochs=1)
    fit(LineFit(), tmp_path / "resumed", [ModelCheckpoint(tmp_path)], tmp_path / "last.ckpt", max_epochs=2)
    fit(LineFit(), tmp_path / "whole", max_epochs=2)
    tables = [pd.read_parquet(tmp_path / name / "history.parquet") for name in ("resumed", "whole")]
    pd.testing.assert_frame_equal(*(table.drop(columns="run") for table in tables))


@pytest.mark.parametrize("state", [{"line.weight": torch.zeros(1, 2), "line.bias": torch.zeros(1)}, {}])
def test_checkpoints_of_another_recipe_are_refused(state):
    with pytest.raises(ConfigError, match=r"ckpt_path: . of the checkpoint's .*use the recipe"):
        LineFit().load_state_dict(state)


@pytest.mark.parametrize(("warmup", "decay"), [(0.6, 0.6), (-0.1, 0.0), (0.0, 1.5)])
def test_shares_of_the_schedule_have_to_fit(warmup, decay):
    class Module(TrainingModule):
        pass

    with pytest.raises(ConfigError, match=f"warmup={warmup} and decay={decay}"):
        Module(torch.optim.SGD, warmup, decay)


def test_a_training_without_an_end_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"max_steps=-1 and max_epochs=-1 have no end.*beside max_time"):
        fit(LineFit(), tmp_path, max_epochs=-1, max_time="00:00:00:05")
