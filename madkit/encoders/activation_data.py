"""ActivationData: activations of a frozen base LM, which encoders are trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from madkit.data.distributed import RankAwareDataModule
from madkit.encoders.encoder_site import AFTER_FIRST, layer_hookpoints, site_name
from madkit.errors import ConfigError, DataError
from madkit.lm import forward, loading
from madkit.lm.hooks import Hookpoint, Reader, all_tokens
from madkit.lm.text_decoder import residual_width
from madkit.runs import fingerprints
from madkit.runs.folder import contents
from madkit.streaming.accumulator import merge_processes


class ActivationData(RankAwareDataModule):
    """Activations of a base LM on texts, computed batch by batch: one forward pass serves every site.

    Used are all token positions of a text after its first, as for the published encoders. Their vectors are distributed
    differently from those of a prompt's last token: an encoder learns the model's states in general, and a detector on
    its features is fitted to last tokens.

    Args:
        base: hub name or folder of the base model.
        texts: where the texts come from, such as `CorpusData` or `TextData`; the base's tokenizer cuts them.
        layers: numbers of the decoder layers to read at, from 0; null for all.
        side: ``input``, what enters the layers, or ``output``, what leaves them.
        dtype: number format of the base: ``auto``, ``float32``, ``bfloat16``, ``float16``, ``4bit``, ``8bit``.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        statistics_batches: how many batches, the first ones of the training, the standardisation is computed from.
        trust_remote_code: run code that comes with the model.

    Raises:
        ConfigError: a layer that the model does not have, or statistics of no batch.
    """

    positions = AFTER_FIRST

    def __init__(
        self,
        base: str,
        texts: RankAwareDataModule,
        layers: list[int] | None = None,
        side: str = "input",
        dtype: str = "auto",
        attention: str = "auto",
        statistics_batches: int = 20,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        if statistics_batches < 1:
            raise ConfigError(f"data.statistics_batches={statistics_batches} must be at least 1")
        self.base = base
        self.texts: Any = texts
        self.layers = layers
        self.side = side
        self.dtype_name = dtype
        self.attention = attention
        self.statistics_batches = statistics_batches
        self.trust_remote_code = trust_remote_code

    @override
    def setup(self, stage: str) -> None:
        # The texts are a data module that Lightning does not know about.
        self.texts.trainer = self.trainer
        self.texts.tokenizer = loading.load_tokenizer(self.base, trust_remote_code=self.trust_remote_code)
        self.texts.setup(stage)

    @cached_property
    def _skeleton(self) -> Any:
        return loading.skeleton(self.base, trust_remote_code=self.trust_remote_code)

    @cached_property
    def hookpoints(self) -> dict[str, Hookpoint]:
        """The tensor of each site."""
        return {site_name(point): point for point in layer_hookpoints(self._skeleton, self.layers, self.side)}

    @property
    def widths(self) -> dict[str, int]:
        """The length of each site's vectors."""
        return dict.fromkeys(self.hookpoints, residual_width(self._skeleton))

    @cached_property
    def base_fingerprint(self) -> str:
        """Which exact weights."""
        return fingerprints.fingerprint(self.base)

    def identity(self) -> dict[str, Any]:
        """The texts, the tokenizer and the number format, as plain data."""
        texts = {k: v for k, v in self.texts.hparams.items() if not k.startswith("_")}
        return {
            "source": "text", "class": type(self.texts).__name__, "texts": contents(texts), "dtype": self.dtype_name,
            "tokenizer": fingerprints.tokenizer_fingerprint(self.texts.tokenizer),
        }  # fmt: skip

    @cached_property
    def _lm(self) -> Any:
        lm = loading.load_causal_lm(
            self.base,
            dtype=self.dtype_name,
            attention=self.attention,
            trust_remote_code=self.trust_remote_code,
            argument="data.base",
        )
        return lm.requires_grad_(False)

    @torch.no_grad()
    def activations(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The vectors (n, d) of a batch at each site, in the LM's number format, on the batch's device."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        lm = self._lm.to(ids.device)
        with Reader(lm, self.hookpoints.values(), stop=True, keep=all_tokens) as reader:
            forward.hidden_states(lm, ids, mask, padded=batch["padded"])
        used = mask.bool() & (mask.cumsum(dim=1) > 1)
        vectors = {site: reader.values[point][used] for site, point in self.hookpoints.items()}
        for site, x in vectors.items():
            if not bool(torch.isfinite(x).all()):
                raise DataError(
                    f"activations at {site!r} are NaN or infinite: try another --data.dtype (now {self.dtype_name!r})"
                )
        return vectors

    @override
    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        # While the batch is on the CPU, because on a GPU the answer has to wait for all work.
        return {**batch, "padded": forward.checked_padding(self._lm, batch, left=False)}

    @override
    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, dict[str, Tensor]]:
        return {"x": self.activations(batch)}

    def statistics(self, make: Callable[[], Metric], device: torch.device) -> dict[str, Any]:
        """Exact statistics of the first training batches, over all processes.

        Args:
            make: gives an empty accumulator.
            device: where to compute.

        Returns:
            The accumulator's result by site.
        """
        seen: dict[str, Any] = {site: make().to(device) for site in self.hookpoints}
        for step in range(self.statistics_batches):
            batch = self.on_before_batch_transfer(self.texts.train_batch(step), 0)
            moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            for site, x in self.activations(moved).items():
                seen[site].update(x.double())
        return {site: merge_processes(accumulator).result() for site, accumulator in seen.items()}

    @override
    def train_dataloader(self) -> Any:
        return self.texts.train_dataloader()

    @override
    def val_dataloader(self) -> Any:
        return self.texts.val_dataloader()
