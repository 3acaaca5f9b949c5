"""What training a base LM and tuning a quirky LM have in common: weights, optimizer, schedule, checkpoints."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from madkit.errors import ConfigError
from madkit.lm import forward, loading
from madkit.training.export import ExportBest, History
from madkit.training.schedule import require_shares, trapezoid

Batch = dict[str, Any]


class LanguageModel(L.LightningModule):
    """A causal LM in training.

    Subclasses say what the loss is (``loss``) and what is exported (``export``, under ``export_name`` in the run
    folder). Weights are loaded in ``configure_model``, so that Lightning's strategies decide where they go; checkpoints
    hold only what is trained.

    Args:
        base: hub name or folder of the model to start from.
        optimizer: any optimizer; it is given two parameter groups, marked by ``matrices`` (2-D weights inside the
            layers) or not, which an ordinary optimizer ignores.
        warmup: share of all steps in which the learning rate rises linearly from 0.
        decay: share of all steps, at the end, in which it falls linearly to 0; ``1 - warmup`` is a linear schedule.
        dtype: number format of frozen weights: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``.
        attention: attention implementation of transformers.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        trust_remote_code: run code that comes with the model.
    """

    export_name = "model"

    def __init__(
        self,
        base: str,
        optimizer: OptimizerCallable,
        warmup: float,
        decay: float,
        dtype: str = "auto",
        attention: str = "sdpa",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        require_shares(warmup, decay)
        self.base = base
        self.optimizer = optimizer
        self.warmup = warmup
        self.decay = decay
        self.dtype_name = dtype
        self.attention = attention
        self.gradient_checkpointing = gradient_checkpointing
        self.trust_remote_code = trust_remote_code
        self.model: Any = None
        self._losses: list[Tensor] = []

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer."""
        return loading.load_tokenizer(self.base, trust_remote_code=self.trust_remote_code)

    @property
    def lm(self) -> PreTrainedModel:
        """The transformers model, with the LoRA active inside it where there is one."""
        return forward.plain(self.model)

    def build(self) -> Any:
        """Load or make the model; called once."""
        return loading.load_causal_lm(
            self.base,
            dtype=self.dtype_name,
            attention=self.attention,
            trust_remote_code=self.trust_remote_code,
        )

    def configure_model(self) -> None:
        """Build the model (Lightning calls this on every stage; the second call does nothing)."""
        if self.model is not None:
            return
        self.model = self.build().train()
        if self.gradient_checkpointing:
            self.lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note whether there is padding while the batch is still on the CPU."""
        return {**batch, "padded": forward.is_padded(batch["attention_mask"])}

    def states_at(self, batch: Batch, places: Tensor) -> Tensor:
        """Final hidden states (n, d) of some of the B * T tokens of a batch."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return forward.states_at(self.lm, ids, mask, places, padded=batch["padded"])

    def configure_callbacks(self) -> list[Callback]:
        """What accompanies every training of an LM: its curves as a table, its best weights as a folder."""
        return [History(), ExportBest()]

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""
        raise NotImplementedError

    def export(self, folder: Path) -> None:
        """Write the trained model as an ordinary folder that transformers or peft loads without madkit."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one forward pass."""
        loss = self.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the loss of the whole effective batch: all of its forward passes on all processes."""
        loss = torch.stack(self._losses).mean()
        self._losses.clear()
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer under the warm-up and decay schedule, stepped every optimizer step."""
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        edges = ("embed", "lm_head", "wte", "wpe")
        matrices = [p for name, p in trained if p.ndim == 2 and not any(edge in name for edge in edges)]
        inside = {id(p) for p in matrices}
        rest = [p for _, p in trained if id(p) not in inside]
        groups = [{"params": matrices, "matrices": True}, {"params": rest, "matrices": False}]
        optimizer = self.optimizer([group for group in groups if group["params"]])
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, trapezoid(total, self.warmup, self.decay))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained and leave out what the base model's own files hold."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint of the trained weights; everything trained must be in it, and nothing else."""
        self.configure_model()
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        if set(state_dict) != trained:
            raise ConfigError(
                f"ckpt_path: the checkpoint holds {len(state_dict)} trained tensors and this recipe trains "
                f"{len(trained)} ({len(trained ^ set(state_dict))} names differ); use the recipe it was made with"
            )
        return super().load_state_dict(state_dict, strict=False, assign=assign)
