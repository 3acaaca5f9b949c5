"""SAEEncoder: train a sparse autoencoder per site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from madkit.encoders.encoder_module import Batch, EncoderModule
from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.sae.sparse_coder import ScaledCoder, new_coder
from madkit.encoders.validation_sums import ValidationSums
from madkit.errors import ConfigError, DataError
from madkit.streaming.variances import FeatureStatistics, Variances

_MULTI_TOPK = 1 / 8
"""The weight of the reconstruction by 4 k latents in the loss; that of sparsify."""


class SAEEncoder(EncoderModule):
    """A top-k sparse autoencoder per site, in the file format of sparsify (Gao et al., arXiv 2406.04093).

    The loss is the squared error over the variance of the activations, plus AuxK (dead latents predict the residual)
    and Multi-TopK where wanted. Decoder rows are kept at unit norm, and the part of their gradient that would only
    lengthen them is taken out. Logged: ``train/loss``; ``val/fvu``, the fraction of variance unexplained, and
    ``val/dead``, the share of latents that no recent training token has used, by site and as their means; after
    training, a histogram of how often each latent is used.

    Args:
        expansion: latents for each coordinate of the activations.
        latents: number of latents; 0 for `expansion` times the width.
        k: latents that a row may use.
        auxk: weight of the AuxK loss.
        dead_after: tokens without use after which a latent counts as dead.
        multi_topk: add the loss of a reconstruction by 4 k latents.
        optimizer: any optimizer, by class path.
        warmup: share of all steps in which the learning rate rises linearly.
        decay: share of all steps, at the end, in which it falls linearly to 0.
    """

    kind = "sae"

    def __init__(
        self,
        expansion: int = 32,
        latents: int = 0,
        k: int = 32,
        auxk: float = 1 / 32,
        dead_after: int = 10_000_000,
        multi_topk: bool = False,
        optimizer: OptimizerCallable = torch.optim.Adam,
        warmup: float = 0.05,
        decay: float = 0.2,
    ) -> None:
        super().__init__(optimizer, warmup, decay)
        if expansion < 1 or latents < 0 or auxk < 0 or dead_after < 1 or k < 1:
            raise ConfigError(
                f"expansion={expansion}, latents={latents}, k={k}, auxk={auxk}, dead_after={dead_after}: "
                "expansion, k and dead_after must be at least 1, latents and auxk at least 0"
            )
        self.expansion = expansion
        self.latents = latents
        self.k = k
        self.auxk = auxk
        self.dead_after = dead_after
        self.multi_topk = multi_topk

    def _latents(self, width: int) -> int:
        return self.latents or self.expansion * width

    @override
    def make_encoder(self, width: int) -> ScaledCoder:
        return ScaledCoder(new_coder(width, self._latents(width), self.k, multi_topk=self.multi_topk))

    @override
    def make_sums(self, width: int) -> ValidationSums:
        return ValidationSums(n=[], error=[], x=[width], squares=[], fired=[self._latents(width)])

    @override
    def statistics(self) -> Variances:
        return Variances()

    @override
    def standardise(self, encoder: ScaledCoder, statistics: FeatureStatistics) -> None:
        variance = float(statistics.m2.mean()) / max(statistics.n, 1)
        if not variance > 0:
            raise DataError(f"n={statistics.n} rows are all equal: there is nothing to reconstruct")
        encoder.standardise(statistics.mean, variance)

    @override
    def loss(self, encoder: ScaledCoder, x: Tensor, count: Tensor) -> Tensor:
        """Squared errors over the variance of as many activations; notes which latents fired."""
        dead = encoder.since_fired >= self.dead_after if self.auxk else None
        losses = encoder.losses(x, dead)
        with torch.no_grad():
            fired = self.trainer.strategy.reduce(losses.fired.float(), reduce_op="sum") > 0
            rows = self.trainer.strategy.reduce(torch.tensor(float(len(x)), device=x.device), reduce_op="sum")
            encoder.since_fired.add_(int(rows)).masked_fill_(fired, 0)
        total = losses.error + self.auxk * losses.auxk + _MULTI_TOPK * losses.multi
        return total / (count * x.shape[1])  # scaled coordinates have a variance of 1 on average

    @override
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        for encoder in self.encoders:  # a decoder row may turn but not grow
            encoder.remove_growth()

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # An optimizer with momentum leaves the unit sphere although the gradient does not.
        for encoder in self.encoders:
            encoder.coder.set_decoder_norm_to_unit_norm()

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for (site, encoder), sums in zip(self.by_site(), self.sums, strict=True):
            losses = encoder.losses(batch["x"][site])
            # About the training mean, so that the variance of all rows follows from two sums without cancellation.
            x = (encoder.scaled(batch["x"][site]) - encoder.coder.b_dec).double()
            sums.update(n=len(x), error=losses.error, x=x.sum(0), squares=x.square().sum(), fired=losses.fired)

    @override
    def on_validation_epoch_end(self) -> None:
        sums = self.sums_of_validation()
        fvu = [float(s["error"] / (s["squares"] - s["x"].square().sum() / s["n"])) for s in sums]
        dead = [float((encoder.since_fired >= self.dead_after).float().mean()) for encoder in self.encoders]
        self.log_values({"fvu": fvu, "dead": dead})
        loggers = self.loggers_after_training()
        if loggers is None:
            return
        for site, s in zip(self.sites, sums, strict=True):
            # Latents that were not used at all go into the lowest bin.
            share = torch.log10((s["fired"] / s["n"]).clamp(min=0.1 / float(s["n"])))
            loggers.histogram(f"log10_latent_frequency/{site}", share.cpu().numpy(), self.trainer.global_step)

    @override
    def export_encoder(self, encoder: ScaledCoder, site: EncoderSite, folder: Path) -> None:
        encoder.exported().save_to_disk(folder)  # sparsify's `cfg.json` and `sae.safetensors`
        site.save(folder)
