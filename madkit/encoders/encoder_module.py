"""EncoderModule: what training flows and training sparse autoencoders have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import override

import madkit
from madkit.encoders.activation_source import ActivationSource
from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.validation_sums import ValidationSums
from madkit.errors import DataError
from madkit.training.lightning_internals import datamodule_of
from madkit.training.run_loggers import RunLoggers
from madkit.training.training_module import TrainingModule

Batch = dict[str, dict[str, Tensor]]


class EncoderModule(TrainingModule):
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
    """``flow`` or ``sae``."""

    def __init__(self, optimizer: OptimizerCallable, warmup: float, decay: float) -> None:
        super().__init__(optimizer, warmup, decay)
        self.encoders: Any = None
        self.sums: Any = None

    @abstractmethod
    def make_encoder(self, width: int) -> nn.Module:
        """A fresh encoder of vectors of this length."""

    @abstractmethod
    def make_sums(self, width: int) -> ValidationSums:
        """What is summed up in a validation."""

    @abstractmethod
    def statistics(self) -> Metric:
        """An empty accumulator of what `standardise` needs."""

    @abstractmethod
    def standardise(self, encoder: Any, statistics: Any) -> None:
        """Fit the part of an encoder that is computed and not trained."""

    @abstractmethod
    def loss(self, encoder: Any, x: Tensor, count: Tensor) -> Tensor:
        """The loss of rows x (n, d), a scalar: summed over them and divided by ``count``."""

    @abstractmethod
    def export_encoder(self, encoder: Any, site: EncoderSite, folder: Path) -> None:
        """Write one encoder."""

    @property
    def source(self) -> ActivationSource:
        """The data module."""
        return datamodule_of(self)

    @override
    def configure_model(self) -> None:
        if self.encoders is not None:
            return
        widths = self.source.widths
        self.sites = list(widths)
        self.encoders = nn.ModuleList(self._seeded(width) for width in widths.values())
        self.sums = nn.ModuleList(self.make_sums(width) for width in widths.values())
        self.register_buffer("standardised", torch.tensor(False))

    def _seeded(self, width: int) -> nn.Module:
        """A fresh encoder whose random weights depend on the seed alone, not on what was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch.initial_seed())
            return self.make_encoder(width)

    def _standardise(self) -> None:
        """Once, before anything is trained; a resumed run has it in its checkpoint."""
        done: Any = self.standardised
        if bool(done):
            return
        statistics = self.source.statistics(self.statistics, self.device)
        for site, encoder in self.by_site():
            self.standardise(encoder, statistics[site])
        done.fill_(True)

    on_sanity_check_start = _standardise  # validation needs it too
    on_train_start = _standardise

    def by_site(self) -> Iterator[tuple[str, Any]]:
        """Each site with its encoder."""
        return zip(self.sites, self.encoders, strict=True)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        rows = float(len(next(iter(batch["x"].values()))))
        # DDP averages gradients over processes, so each divides by the mean number of rows a process has.
        count = self.trainer.strategy.reduce(torch.tensor(rows, device=self.device), reduce_op="mean")
        losses = torch.stack([self.loss(encoder, batch["x"][site], count) for site, encoder in self.by_site()])
        self.record_loss(losses)
        return losses.sum()

    @override
    def log_training_loss(self, loss: Tensor) -> None:
        super().log_training_loss(loss)
        for site, value in zip(self.sites, loss, strict=True):
            self.log(f"train/loss/{site}", value, sync_dist=True)

    @override
    def apply_clipping(self, optimizer: torch.optim.Optimizer, value: float, algorithm: str | None) -> None:
        for encoder in self.encoders:
            if algorithm == "value":
                nn.utils.clip_grad_value_(encoder.parameters(), value)
            else:
                nn.utils.clip_grad_norm_(encoder.parameters(), value)

    def sums_of_validation(self) -> list[dict[str, Tensor]]:
        """The sums of each site over all processes, which then start at zero again."""
        values = [sums.compute() for sums in self.sums]
        for sums in self.sums:
            sums.reset()
        return values

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

    def loggers_after_training(self) -> RunLoggers | None:
        """The loggers in the validation that follows the training; else None."""
        return RunLoggers(self.trainer) if self.trainer.state.fn == "validate" else None

    @override
    def export(self, folder: Path) -> None:
        identity = {"madkit": madkit.__version__, **self.source.identity()}
        for name, encoder in self.by_site():
            point = self.source.hookpoints[name]
            site = EncoderSite(
                kind=self.kind, module=point.module, side=point.side, width=self.source.widths[name],
                positions=self.source.positions, base=self.source.base_fingerprint, data=identity,
            )  # fmt: skip
            self.export_encoder(encoder, site, folder / name)
