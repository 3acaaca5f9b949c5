"""TrainingModule: what the training of a language model and that of encoders have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.training.checked_training import CheckedTraining
from madkit.training.export_best import ExportBest
from madkit.training.history import History
from madkit.training.lightning_internals import clip_gradients, unscale_gradients
from madkit.training.schedule import require_shares, trapezoid


class TrainingModule(L.LightningModule):
    """A training with one optimizer, whose curves become a table and whose best weights become a folder.

    A subclass builds its weights in ``configure_model``, which has to do nothing when it is called again, and hands
    each training loss to `record_loss`. The loss of the effective batch, which is all forward passes on all processes
    between two steps of the optimizer, is logged once a step as ``train/loss``.

    Args:
        optimizer: any optimizer, as a function of the parameters.
        warmup: share of all steps in which the learning rate rises linearly from 0.
        decay: share of all steps, at the end, in which it falls linearly to 0; ``1 - warmup`` is a linear schedule.

    Raises:
        ConfigError: the two shares do not fit into a run.
    """

    export_name: str
    """The folder below the run folder that the best weights are exported to."""

    def __init__(self, optimizer: OptimizerCallable, warmup: float, decay: float) -> None:
        super().__init__()
        require_shares(warmup, decay)
        self.optimizer = optimizer
        self.warmup = warmup
        self.decay = decay
        self._losses: list[Tensor] = []
        self._checks = CheckedTraining()

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the trained weights into a folder."""

    def parameter_groups(self) -> list[Any]:
        """What the optimizer is given: parameters, or groups of them."""
        return [p for p in self.parameters() if p.requires_grad]

    def checkpoint_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor that a checkpoint holds."""
        return {name: tuple(value.shape) for name, value in self.state_dict().items()}

    def record_loss(self, loss: Tensor) -> None:
        """Note the loss of one forward pass.

        Args:
            loss: a scalar, or the losses (n,) of n models that are trained side by side.
        """
        self._losses.append(loss.detach())

    def log_training_loss(self, loss: Tensor) -> None:
        """Log the loss of the effective batch; shaped as what `record_loss` was given."""
        self.log("train/loss", loss.mean(), prog_bar=True, sync_dist=True)

    @override
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        loss = torch.stack(self._losses).mean(0)
        self._losses.clear()
        self._checks.loss = loss
        self.log_training_loss(loss)

    def apply_clipping(self, optimizer: torch.optim.Optimizer, value: float, algorithm: str | None) -> None:
        """Clip gradients, which no longer carry the loss scale of mixed precision.

        Args:
            optimizer: the optimizer of the parameters.
            value: the largest norm, or the largest absolute value.
            algorithm: ``norm`` or ``value``; None for ``norm``.
        """
        clip_gradients(self.trainer, optimizer, value, algorithm)

    @override
    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val:
            unscale_gradients(self.trainer, optimizer)
            self.apply_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    @override
    def configure_callbacks(self) -> list[Callback]:
        return [self._checks, History(), ExportBest()]

    @override
    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.optimizer(self.parameter_groups())
        except (ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(
                f"model.optimizer does not take its options ({' '.join(str(error).split())}); correct its init_args"
            ) from error
        total = self.trainer.estimated_stepping_batches
        if not math.isfinite(total):
            raise ConfigError(
                f"trainer.max_steps={self.trainer.max_steps} and max_epochs={self.trainer.max_epochs} have no end, and "
                "warmup and decay are shares of all steps: give one of them, beside max_time if you like"
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, trapezoid(int(total), self.warmup, self.decay))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = self.checkpoint_shapes()
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in names}

    @override
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        self.configure_model()
        expected = self.checkpoint_shapes()
        stored = {name: tuple(value.shape) for name, value in state_dict.items()}
        if stored != expected:
            differ = [name for name in expected.keys() | stored.keys() if expected.get(name) != stored.get(name)]
            raise ConfigError(
                f"ckpt_path: {len(differ)} of the checkpoint's {len(stored)} tensors and this recipe's {len(expected)} "
                f"differ in name or shape ({min(differ)}, ...); use the recipe that the checkpoint belongs to"
            )
        # What a checkpoint leaves out, such as a frozen base model, has its values already.
        return super().load_state_dict(state_dict, strict=False, assign=assign)
