"""TextData: any text dataset of the Hugging Face hub or a local folder, for training encoders."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from madkit.data.distributed import RankAwareDataModule
from madkit.data.pretraining.corpus_data import CorpusBatches
from madkit.errors import ConfigError, DataError

Batch = dict[str, Tensor]


class TextData(RankAwareDataModule):
    """Texts, each cut at `max_length` tokens, in an order that `seed` alone decides.

    The last `n_validation` texts of that order are the validation. The k-th batch of a run depends on the seed and k
    alone; each of several processes takes its rows of it.

    Args:
        source: hub name of a dataset, or a local folder or file of text, JSON lines, CSV or parquet.
        name: the dataset's configuration, where it has several.
        split: the dataset's split.
        column: the column that holds the text.
        batch_size: texts in one optimizer step, over all devices.
        max_length: tokens of a text that are used.
        n_validation: texts of the validation.
        steps_per_epoch: optimizer steps in one epoch; null for as many as the texts suffice for.
        seed: of the order.

    Raises:
        ConfigError: a number is out of range, or there is no such dataset or column.
    """

    tokenizer: Any = None

    def __init__(
        self,
        source: str,
        name: str | None = None,
        split: str = "train",
        column: str = "text",
        batch_size: int = 16,
        max_length: int = 512,
        n_validation: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.options: dict[str, Any] = dict(self.hparams)
        for key, least in (("batch_size", 1), ("max_length", 2), ("n_validation", 1)):
            if self.options[key] < least:
                raise ConfigError(f"{key}={self.options[key]} must be at least {least}")

    @cached_property
    def texts(self) -> Any:
        """The dataset, memory-mapped."""
        from datasets import load_dataset

        source, split, column = (self.options[key] for key in ("source", "split", "column"))
        path = Path(source)
        try:
            if path.exists():
                files = sorted(str(p) for p in ([path] if path.is_file() else path.rglob("*")) if p.suffix in KINDS)
                kind = KINDS[Path(files[0]).suffix] if files else "text"
                found = load_dataset(kind, data_files={split: files}, split=split)
            else:
                found = load_dataset(source, self.options["name"], split=split)
        except Exception as error:  # the library raises many unrelated types
            raise ConfigError(
                f"source={source!r}, split={split!r}: cannot load these texts ({str(error).splitlines()[0]}); name a "
                f"dataset of the hub, or a folder of {', '.join(KINDS)} files"
            ) from error
        if column not in found.column_names:
            raise ConfigError(f"column={column!r} is not in {source!r}; choose from {', '.join(found.column_names)}")
        return found

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Texts to learn from, and those held out."""
        order = np.random.default_rng(self.options["seed"]).permutation(len(self.texts))
        held, size = self.options["n_validation"], self.options["batch_size"]
        if len(order) < held + size:
            raise DataError(
                f"source={self.options['source']!r} has {len(order)} texts: too few for n_validation={held} "
                f"and a batch of {size}"
            )
        return order[:-held], order[-held:]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        enough = len(self._parts[0]) // self.options["batch_size"]
        return int(self.options["steps_per_epoch"] or enough)

    def _batch(self, rows: np.ndarray) -> Batch:
        texts = [self.texts[int(row)][self.options["column"]] for row in rows[self._rank :: self._world]]
        ids = self.tokenizer(texts, truncation=True, max_length=self.options["max_length"])["input_ids"]
        width = max(2, *map(len, ids)) if ids else 2
        filler = self.tokenizer.pad_token_id
        padded = torch.tensor([i + [filler] * (width - len(i)) for i in ids], dtype=torch.int64)
        mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i in ids], dtype=torch.int64)
        return {"input_ids": padded, "attention_mask": mask}

    def train_batch(self, step: int) -> Batch:
        """This process' rows of the batch of a step of the run: `input_ids` and `attention_mask` (b, t) int64.

        Padding is on the right, where no token sees it.
        """
        rows = self._parts[0]
        size = self.options["batch_size"]
        return self._batch(rows[np.arange(step * size, (step + 1) * size) % len(rows)])

    def train_dataloader(self) -> CorpusBatches:
        """The training batches of this process."""
        if self.options["batch_size"] % self._world:
            raise ConfigError(
                f"batch_size={self.options['batch_size']} must be a multiple of the {self._world} processes"
            )
        return CorpusBatches(self.train_batch, self.steps_per_epoch, self._position)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The held-out texts."""
        rows, size = self._parts[1], self.options["batch_size"]
        batches = [self._batch(rows[i : i + size]) for i in range(0, len(rows), size)]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


KINDS = {".txt": "text", ".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
