"""Run a model over the prompts of a monitor, by Lightning's loop and without its notices."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from typing_extensions import override

from madkit.extraction.model_extractor import ModelExtractor
from madkit.features.feature import Feature
from madkit.monitoring.prompt_data import PromptData
from madkit.monitoring.watched_model import WatchedModel

#: What Lightning says of a prediction that knows itself where its model is.
_NOISE = (
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*`srun` command is available.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*You have overridden `transfer_batch_to_device`.*",
    ".*predict returned None.*",
    ".*is_gradient_checkpointing. is deprecated.*",
)


def predict(
    module: L.LightningModule,
    data: PromptData,
    watched: WatchedModel,
    folder: Path | None = None,
    *,
    progress: bool = False,
) -> Any:
    """What a module's ``predict_step`` returns for each batch.

    Args:
        module: what reads the model.
        data: the prompts.
        watched: the model.
        folder: where the module writes, if it does.
        progress: show a bar.
    """
    with _silent(), watched.evaluating():
        trainer = L.Trainer(
            accelerator="cpu",  # batches go where the model is
            devices=1,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        return trainer.predict(module, datamodule=data, return_predictions=folder is None)


class OnDevice(L.LightningModule):
    """A module whose batches go to the device of a model that is not its own.

    Attributes:
        watched: the model.
    """

    watched: WatchedModel

    @property
    @override
    def device(self) -> torch.device:
        return self.watched.device

    @override
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return super().transfer_batch_to_device(batch, self.watched.device, dataloader_idx)


class WatchedExtractor(OnDevice, ModelExtractor):
    """Write features of prompts, read from a model in memory, to stores in the trainer's folder.

    Args:
        watched: the model.
        features: what to read with the adapter on.
        controls: names of those to read with the adapter off, too.
        base: the fingerprint of the base's files, for features that were trained on them.
    """

    def __init__(self, watched: WatchedModel, features: list[Feature], controls: list[str], base: str) -> None:
        super().__init__(features, controls)
        self.watched, self.base = watched, base
        # Not as modules of this one, which Lightning would move.
        self.__dict__["model"], self.__dict__["control"] = watched.model, watched.control

    def setup(self, stage: str) -> None:
        """Open the stores."""
        lm = self.watched.lm
        self.open_model_stores(lm, {"base": self.base}, lm)


class BatchScores(OnDevice):
    """Scores of each batch of prompts.

    Args:
        watched: the model.
        score: scores (b, sites) of a batch.
    """

    def __init__(self, watched: WatchedModel, score: Callable[[WatchedModel, dict[str, Any]], Tensor]) -> None:
        super().__init__()
        self.watched, self.score = watched, score

    @torch.inference_mode(False)
    @torch.no_grad()
    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Row numbers (b,) and scores (b, sites)."""
        return batch["row"].cpu(), self.score(self.watched, batch).cpu()


@contextmanager
def _silent() -> Iterator[None]:
    """A context without Lightning's tips and notices."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message in _NOISE:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
