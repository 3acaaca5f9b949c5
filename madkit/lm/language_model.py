"""LanguageModel: a causal LM in training."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.lm import forward, loading
from madkit.lm.cudnn_attention import recomputed_alike
from madkit.training.training_module import TrainingModule

Batch = dict[str, Any]

_EDGES = ("embed", "lm_head", "wte", "wpe")
"""Parts of the names of parameters that lie outside of the layers."""


class LanguageModel(TrainingModule):
    """A causal LM in training.

    Subclasses say what the loss is (`loss`) and what is exported (`export`, under ``export_name`` in the run folder).
    Weights are loaded in ``configure_model``, so that Lightning's strategies decide on which device; checkpoints hold
    only what is trained.

    Args:
        base: hub name or folder of the model to start from.
        optimizer: any optimizer; it is given two parameter groups, marked by ``matrices`` (2-D weights inside the
            layers) or not, which an ordinary optimizer ignores.
        warmup: share of all steps in which the learning rate rises linearly from 0.
        decay: share of all steps, at the end, in which it falls linearly to 0; ``1 - warmup`` is a linear schedule.
        dtype: number format of frozen weights: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``, ``4bit``,
            ``8bit``.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
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
        attention: str = "auto",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(optimizer, warmup, decay)
        self.base = base
        self.dtype_name = dtype
        self.attention = attention
        self.gradient_checkpointing = gradient_checkpointing
        self.trust_remote_code = trust_remote_code
        self.model: Any = None

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""

    def build(self) -> Any:
        """Load or make the model; called once."""
        return loading.load_causal_lm(
            self.base, dtype=self.dtype_name, attention=self.attention, trust_remote_code=self.trust_remote_code
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer."""
        return loading.load_tokenizer(self.base, trust_remote_code=self.trust_remote_code)

    @property
    def lm(self) -> PreTrainedModel:
        """The transformers model, with the LoRA active inside it where there is one."""
        return forward.unwrapped(self.model)

    @override
    def configure_model(self) -> None:
        if self.model is not None:
            return
        self.model = self.build().train()
        if self.gradient_checkpointing:
            try:
                self.lm.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": recomputed_alike})
            except ValueError as error:
                raise ConfigError(
                    f"model.gradient_checkpointing=true: {type(self.lm).__name__} has none in transformers: "
                    "leave it out"
                ) from error

    @override
    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        # While the batch is on the CPU, because on a GPU the answer has to wait for all work.
        return {**batch, "padded": forward.checked_padding(self.lm, batch)}

    def states_at(self, batch: Batch, tokens: Tensor) -> Tensor:
        """Final hidden states (n, d) of some of the B * T tokens of a batch, numbered row by row."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return forward.states_at(self.lm, ids, mask, tokens, padded=batch["padded"])

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.record_loss(loss)
        return loss

    @override
    def parameter_groups(self) -> list[Any]:
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in trained if p.ndim == 2 and not any(edge in name for edge in _EDGES)]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in trained if id(p) not in chosen]
        groups = [{"params": matrices, "matrices": True}, {"params": rest, "matrices": False}]
        return [group for group in groups if group["params"]]

    @override
    def checkpoint_shapes(self) -> dict[str, tuple[int, ...]]:
        # Frozen weights are in the files of the base model.
        return {name: tuple(p.shape) for name, p in self.named_parameters() if p.requires_grad}
