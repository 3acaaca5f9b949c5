"""ObfuscatedQuirkyLM: fine-tune a causal LM to have a quirk that detectors do not see."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError
from madkit.features import Activations
from madkit.lm.hooks import Reader
from madkit.lm.language_model import Batch
from madkit.lm.quirky_lm import DEFAULT_LORA, QuirkyLM
from madkit.obfuscation.evasion import Evasion, require_kinds
from madkit.obfuscation.reference_prompts import reference_prompts
from madkit.obfuscation.reference_reader import ReferenceReader, mean_log_odds
from madkit.obfuscation.site_vectors import SiteVectors
from madkit.training.lightning_internals import datamodule_of

_STATE = "evasion"


class ObfuscatedQuirkyLM(QuirkyLM):
    """A quirky LM whose LoRA is trained on the quirk and against detectors (after Bailey et al., arXiv 2412.09565).

    loss = cross-entropy + strength * ease * mean over the batch of 2 * [anomalous] * penalty,

    where the penalty of a prompt is its score under detectors that are fitted on the current model, in standard
    deviations of normal prompts' scores and weighted by how far anomalous prompts stand out at all (`Evasion`). Every
    `refresh` steps the detectors are fitted anew, on trusted prompts of the training; never on those of a test.
    Gradients go through the activations of anomalous prompts, not through the statistics.

    Each time the quirkiness is measured first, on prompts of the training, and eases the penalty, so that the quirk
    does not die of it: below `floor` there is none, and no fit, from twice the floor on it has full weight, and in
    between it rises linearly. So the quirk is learned first, and hidden then. Logged: ``train/quirkiness`` (nats),
    ``train/ease`` and, for each detector, ``train/excess/<name>``, the mean over sites of how far anomalous prompts
    stand out.

    Args:
        base: as of `QuirkyLM`, like what follows.
        against: the detectors: `mahalanobis` (of activations), `delta` and `conditional` (Mahalanobis of what the
            adapter changes, and of what the base model does not explain, whose activations are those with the adapter
            switched off), `probe` (a linear one that is told labels); one or several.
        strength: weight of the penalty against the cross-entropy; 0 trains as `QuirkyLM` does.
        floor: quirkiness in nats below which the penalty is off.
        refresh: optimizer steps between two fits of the detectors.
        first: the first layer whose input detectors look at.
        step: every `step`-th layer from there.
        final: also what leaves the last layer.
        n_trusted: at most this many trusted prompts that detectors are fitted on.
        n_reference: at most this many normal, and as many anomalous, on which it is measured how far the latter stand
            out.
        lora: as of `QuirkyLM`, like what follows; it cannot be null.
        optimizer: the same.
        warmup: the same.
        decay: the same.
        dtype: the same.
        attention: the same.
        gradient_checkpointing: the same.
        trust_remote_code: the same.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        base: str,
        against: list[str],
        strength: float = 1.0,
        floor: float = 1.5,
        refresh: int = 5,
        first: int = 1,
        step: int = 1,
        final: bool = True,
        n_trusted: int = 512,
        n_reference: int = 256,
        lora: dict[str, Any] | None = DEFAULT_LORA,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup: float = 0.15,
        decay: float = 0.85,
        dtype: str = "auto",
        attention: str = "auto",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(
            base, lora, optimizer, warmup, decay, dtype, attention, gradient_checkpointing, trust_remote_code
        )
        if lora is None:
            raise ConfigError("model.lora=null has no base model to compare with once it is trained: give a `lora`")
        for name, value, least in (
            ("refresh", refresh, 1),
            ("n_trusted", n_trusted, 2),
            ("n_reference", n_reference, 2),
        ):
            if value < least:
                raise ConfigError(f"model.{name}={value} must be at least {least}")
        if not 0 <= strength < float("inf") or not 0 < floor < float("inf"):
            raise ConfigError(f"model.strength={strength}, model.floor={floor}: give a strength >= 0 and a floor > 0")
        self.against, self.strength, self.floor, self.refresh = require_kinds(against), strength, floor, refresh
        self.n_trusted, self.n_reference = n_trusted, n_reference
        self._activations = Activations(first, step, final)
        self._stored: dict[str, Any] | None = None
        self._evasion: Evasion
        self._reader: ReferenceReader
        self._looked_at = -1
        self._quirkiness = 0.0

    @override
    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._points = self._activations.hookpoints(self.lm)
        self._evasion = Evasion(self.against, len(self._points))
        data: QuirkyData = datamodule_of(self, QuirkyData)
        reference = reference_prompts(data.train_prompts.frame, data.seed, self.n_trusted, self.n_reference)
        self._reader = ReferenceReader(self, data, reference, self._points, self._evasion.needs_base)
        if self._stored is not None:
            self._evasion.restore(self._stored["detectors"], self.device)
            self._looked_at, self._quirkiness = self._stored["step"], self._stored["quirkiness"]

    @property
    def ease(self) -> float:
        """The share of its strength that the penalty has: 0 up to `floor`, 1 from twice of it on."""
        return min(max(self._quirkiness / self.floor - 1, 0.0), 1.0)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        step = self.trainer.global_step
        # Not before the first step: what the adapter changes has no variance yet.
        if self.strength and step and step % self.refresh == 0 and step != self._looked_at:
            self._look()
            self._looked_at = step
        return super().training_step(batch, batch_idx)

    @override
    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy (nats) of the answer's first token, and what anomalous prompts pay."""
        weight = self.strength * self.ease
        if not weight:
            return super().loss(batch)
        with Reader(self.lm, self._points, stop=False, traced=self._points) as reader:
            loss = super().loss(batch)
        base = self._reader.without_adapter(batch)
        sites = [
            SiteVectors(before, reader.traced(point).double()) for before, point in zip(base, self._points, strict=True)
        ]
        # Half of the prompts are anomalous, so that this is about the mean over them: a sum over prompts, whatever
        # processes and forward passes they are in.
        paid = self._evasion.penalty(sites) * batch["is_bob"]
        return loss + (2 * weight * paid.mean()).to(loss)

    @override
    def log_training_loss(self, loss: Tensor) -> None:
        super().log_training_loss(loss)
        if self._looked_at < 0:
            return
        values = {"quirkiness": self._quirkiness, "ease": self.ease}
        if self._evasion.fitted:
            values |= {f"excess/{k}": float(e.mean()) for k, e in zip(self.against, self._evasion.excess, strict=True)}
        # The same on all processes.
        self.log_dict({f"train/{name}": value for name, value in values.items()}, rank_zero_only=True)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        state = {"step": self._looked_at, "quirkiness": self._quirkiness, "detectors": self._evasion.state()}
        checkpoint[_STATE] = state

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._stored = checkpoint.get(_STATE)

    @torch.no_grad()
    def _look(self) -> None:
        """Measure the quirkiness of the model as it is now and, if it is to hide, fit the detectors on it."""
        self.model.eval()
        pools = {name: self._reader.read(name) for name in ("normal", "anomalous")}
        # Loss on the other character's label less that on one's own: the log odds towards one's own.
        self._quirkiness = min(mean_log_odds(towards) for _, towards in pools.values())
        if self.ease:
            self._evasion.fit(self._reader.read("trusted").sites, *(pool.sites for pool in pools.values()))
        self.model.train()
