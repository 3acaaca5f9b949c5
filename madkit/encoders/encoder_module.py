"""What training flows and training sparse autoencoders have in common."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric

import madkit
from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.validation_sums import Totals
from madkit.errors import ConfigError, DataError
from madkit.training.export import ExportBest, History
from madkit.training.schedule import require_shares, trapezoid

Batch = dict[str, dict[str, Tensor]]


class EncoderModule(L.LightningModule):
    """One encoder per site, all trained in one run on activations of the same forward passes.

    The data module says which sites there are and gives batches ``{"x": {site: (n, d)}}``; it also holds the frozen
    LM, so that checkpoints hold encoders only. The loss is the sum over sites, and gradients are clipped site by site,
    so that an encoder comes out as if it had been trained alone.

    Args:
        optimizer: any optimizer, by class path.
        warmup: share of all steps in which the learning rate rises linearly.
        decay: share of all steps, at the end, in which it falls linearly to 0.
    """

    export_name = "encoder"
    kind: str

    def __init__(self, optimizer: OptimizerCallable, warmup: float, decay: float) -> None:
        super().__init__()
        require_shares(warmup, decay)
        self.optimizer = optimizer
        self.warmup = warmup
        self.decay = decay
        self.encoders: Any = None
        self.totals: Any = None
        self._losses: list[Tensor] = []

    @abstractmethod
    def make(self, width: int) -> nn.Module:
        """A fresh encoder for vectors of this length."""

    @abstractmethod
    def make_totals(self, width: int) -> Totals:
        """What is summed up in a validation."""

    @abstractmethod
    def statistics(self) -> Metric:
        """An empty accumulator of what `standardise` needs."""

    @abstractmethod
    def standardise(self, encoder: Any, statistics: Any) -> None:
        """Fit the part of an encoder that is computed and not trained."""

    @abstractmethod
    def loss(self, encoder: Any, x: Tensor, count: Tensor) -> Tensor:
        """The loss of rows x (n, d), a scalar: summed over them and divided by `count`."""

    @abstractmethod
    def export_encoder(self, encoder: Any, site: EncoderSite, folder: Path) -> None:
        """Write one encoder."""

    @property
    def data(self) -> Any:
        """The data module."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def configure_model(self) -> None:
        """Make an encoder for each site (Lightning calls this on every stage; the second call does nothing)."""
        if self.encoders is not None:
            return
        widths = self.data.widths
        self.sites = list(widths)
        self.encoders = nn.ModuleList(self._seeded(width) for width in widths.values())
        self.totals = nn.ModuleList(self.make_totals(width) for width in widths.values())
        self.register_buffer("standardised", torch.tensor(False))

    def _seeded(self, width: int) -> nn.Module:
        """A fresh encoder whose random weights depend on the seed alone, not on what was drawn before it was made."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch.initial_seed())
            return self.make(width)

    def configure_callbacks(self) -> list[Callback]:
        """The curves as a table, the best weights as a folder."""
        return [History(), ExportBest()]

    def _standardise(self) -> None:
        """Once, before anything is trained; a resumed run has it in its checkpoint."""
        done: Any = self.standardised
        if bool(done):
            return
        found = self.data.statistics(self.statistics, self.device)
        for site, encoder in zip(self.sites, self.encoders, strict=True):
            self.standardise(encoder, found[site])
        done.fill_(True)

    on_sanity_check_start = _standardise  # validation needs it too
    on_train_start = _standardise

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum of the sites' losses."""
        rows = float(len(next(iter(batch["x"].values()))))
        # DDP averages gradients over processes, so each divides by the mean number of rows a process has.
        count = self.trainer.strategy.reduce(torch.tensor(rows, device=self.device), reduce_op="mean")
        losses = [
            self.loss(encoder, batch["x"][site], count) for site, encoder in zip(self.sites, self.encoders, strict=True)
        ]
        total = torch.stack(losses).sum()
        self._losses.append(torch.stack(losses).detach())
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the loss of the whole effective batch: all of its forward passes on all processes."""
        losses = torch.stack(self._losses).mean(0)
        self._losses.clear()
        self.log("train/loss", losses.mean(), prog_bar=True, sync_dist=True)
        for site, loss in zip(self.sites, losses, strict=True):
            self.log(f"train/loss/{site}", loss, sync_dist=True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of each encoder's gradient by itself."""
        for encoder in self.encoders:
            if gradient_clip_val:
                nn.utils.clip_grad_norm_(encoder.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer under the warm-up and decay schedule, stepped every optimizer step."""
        optimizer = self.optimizer([p for p in self.encoders.parameters() if p.requires_grad])
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, trapezoid(total, self.warmup, self.decay))
        scheduler = {"scheduler": schedule, "interval": "step", "name": "learning_rate"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def log_values(self, values: dict[str, list[float]]) -> None:
        """Log each value by site, and its mean over sites.

        Raises:
            DataError: one is not finite.
        """
        for name, by_site in values.items():
            for site, value in zip(self.sites, by_site, strict=True):
                if not torch.isfinite(torch.tensor(value)):
                    raise DataError(
                        f"val/{name} of site {site!r} is {value} after step {self.trainer.global_step}: lower the "
                        "learning rate (--model.optimizer.lr) or clip gradients (--trainer.gradient_clip_val 1)"
                    )
                self.log(f"val/{name}/{site}", value)
            self.log(f"val/{name}", sum(by_site) / len(by_site), prog_bar=True)

    def tensorboard(self) -> Any:
        """TensorBoard's writer, after training and on the first process only; else None."""
        if self.trainer.state.fn != "validate" or not self.trainer.is_global_zero:
            return None
        writer = getattr(self.logger, "experiment", None)
        return writer if hasattr(writer, "add_figure") else None

    def export(self, folder: Path) -> None:
        """Write a folder per site."""
        identity = {"madkit": madkit.__version__, **self.data.identity()}
        for name, encoder in zip(self.sites, self.encoders, strict=True):
            point = self.data.hookpoints[name]
            site = EncoderSite(
                kind=self.kind, module=point.module, side=point.side, width=self.data.widths[name],
                positions=self.data.positions, base=self.data.base_fingerprint, data=identity,
            )  # fmt: skip
            self.export_encoder(encoder, site, folder / name)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint; its sites and sizes have to be those of the recipe."""
        self.configure_model()
        own = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        other = {name: tuple(value.shape) for name, value in state_dict.items()}
        if own != other:
            differ = [name for name in own.keys() | other.keys() if own.get(name) != other.get(name)]
            raise ConfigError(
                f"ckpt_path: {len(differ)} tensors of the checkpoint ({min(differ)}, ...) differ in name or shape "
                "from this recipe's encoders; use the recipe it was made with"
            )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
