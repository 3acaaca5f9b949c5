"""FlowEncoder: train a normalising flow per site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from madkit.encoders.encoder_module import Batch, EncoderModule
from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.encoders.flow.quantile_figure import quantile_figure
from madkit.encoders.validation_sums import ValidationSums
from madkit.streaming.moments import CovarianceStatistics, Moments

_PLOTTED = 1 << 18
"""Coordinates of z per site that the quantile plot is drawn from."""


class FlowEncoder(EncoderModule):
    """A normalising flow per site with an independent Laplace(0, 1) prior (arXiv 2504.08812, section 3).

    The loss is the negative log density of an activation in bits per dimension. It is computed in float32 whatever the
    trainer's precision, because bfloat16 keeps under three digits of a log determinant. Logged:
    ``train/loss``, ``val/bits_per_dim`` and ``val/gaussian_bits_per_dim`` (those of a Gaussian with the same mean and
    covariance, or variances alone with ``whiten=False``), each by site and as their mean; after training, a Q-Q plot
    of z against the prior.

    Args:
        couplings: coupling layers of each flow.
        hidden: width of each coupling's network.
        blocks: residual blocks of each network.
        splines: bins of rational-quadratic couplings; 0 for affine ones. See `LaplaceFlow`.
        whiten: standardise along principal components rather than each coordinate alone.
        optimizer: any optimizer, by class path.
        warmup: share of all steps in which the learning rate rises linearly.
        decay: share of all steps, at the end, in which it falls linearly to 0.
    """

    kind = "flow"

    def __init__(
        self,
        couplings: int = 8,
        hidden: int = 128,
        blocks: int = 1,
        splines: int = 0,
        whiten: bool = True,
        optimizer: OptimizerCallable = torch.optim.Adam,
        warmup: float = 0.05,
        decay: float = 0.6,
    ) -> None:
        super().__init__(optimizer, warmup, decay)
        self.options: dict[str, Any] = {
            "couplings": couplings, "hidden": hidden, "blocks": blocks, "splines": splines, "whiten": whiten,
        }  # fmt: skip
        LaplaceFlow(2, **self.options)  # complains about the options before any model is loaded
        self._plotted: list[list[Tensor]] = []

    @override
    def make_encoder(self, width: int) -> LaplaceFlow:
        return LaplaceFlow(width, **self.options)

    @override
    def make_sums(self, width: int) -> ValidationSums:
        return ValidationSums(n=[], bits=[], gaussian=[])

    @override
    def statistics(self) -> Moments:
        return Moments()

    @override
    def standardise(self, encoder: LaplaceFlow, statistics: CovarianceStatistics) -> None:
        encoder.standardise(statistics.n, statistics.mean, statistics.covariance)

    @override
    def loss(self, encoder: LaplaceFlow, x: Tensor, count: Tensor) -> Tensor:
        return encoder.bits(x).sum() / count

    @override
    def on_validation_epoch_start(self) -> None:
        self._plotted = [[] for _ in self.sites]

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loggers = self.loggers_after_training()
        plots = loggers is not None and loggers.show_pictures
        for (site, encoder), sums, plotted in zip(self.by_site(), self.sums, self._plotted, strict=True):
            x = batch["x"][site]
            sums.update(n=len(x), bits=encoder.bits(x).double().sum(), gaussian=encoder.gaussian_bits(x).double().sum())
            if plots and sum(z.numel() for z in plotted) < _PLOTTED:
                plotted.append(encoder(x).flatten().float().cpu())

    @override
    def on_validation_epoch_end(self) -> None:
        sums = self.sums_of_validation()
        self.log_values(
            {
                "bits_per_dim": [float(s["bits"] / s["n"]) for s in sums],
                "gaussian_bits_per_dim": [float(s["gaussian"] / s["n"]) for s in sums],
            }
        )
        loggers = self.loggers_after_training()
        if loggers is None or not loggers.show_pictures:
            return
        for site, plotted in zip(self.sites, self._plotted, strict=True):
            figure = quantile_figure(torch.cat(plotted).numpy(), f"{site}: z against Laplace(0, 1)")
            loggers.picture(f"quantiles/{site}", figure, self.trainer.global_step)

    @override
    def export_encoder(self, encoder: LaplaceFlow, site: EncoderSite, folder: Path) -> None:
        encoder.save(folder, site.config())
