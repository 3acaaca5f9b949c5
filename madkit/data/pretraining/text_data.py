"""TextData: any text dataset of the Hugging Face hub or a local folder, for training encoders."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from madkit.data.pretraining.step_batches import StepwiseData, ready_batches, text_batch
from madkit.errors import ConfigError, DataError
from madkit.runs.hub import hub_name

Batch = dict[str, Tensor]

#: Columns of text, as `datasets` writes their type.
_TEXTS = {f"Value('{kind}')" for kind in ("string", "large_string", "string_view")}
#: The suffix of a file: its format, as `datasets` calls it.
FORMATS = {".txt": "text", ".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


class TextData(StepwiseData):
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
        super().__init__(batch_size, steps_per_epoch)
        # For checkpoints, and for the identity of encoders of these texts.
        self.save_hyperparameters(logger=False)
        self.source, self.config_name, self.split, self.column = source, name, split, column
        self.max_length, self.n_validation, self.seed = max_length, n_validation, seed
        for key, value, least in (
            ("batch_size", batch_size, 1), ("max_length", max_length, 2), ("n_validation", n_validation, 1)
        ):  # fmt: skip
            if value < least:
                raise ConfigError(f"{key}={value} must be at least {least}")

    @cached_property
    def texts(self) -> Any:
        """The dataset, memory-mapped."""
        from datasets import load_dataset

        source, split, column = self.source, self.split, self.column
        path = Path(source)
        files = sorted(str(p) for p in ([path] if path.is_file() else path.rglob("*")) if p.suffix in FORMATS)
        formats = {FORMATS[Path(file).suffix]: Path(file).name for file in files}
        if len(formats) > 1:
            shown = " and ".join(sorted(formats.values()))
            raise ConfigError(
                f"source={source!r} holds files of several formats, such as {shown}: name one file, or a folder "
                "of files of one format"
            )
        try:
            if path.exists():
                texts = load_dataset(next(iter(formats), "text"), data_files={split: files}, split=split)
            else:
                repository, revision = hub_name(source)
                texts = load_dataset(repository, self.config_name, split=split, revision=revision)
        except Exception as error:  # the library raises many unrelated types
            raise ConfigError(
                f"source={source!r}, split={split!r}: cannot load these texts ({str(error).splitlines()[0]}); name a "
                f"dataset of the hub, or a folder of {', '.join(FORMATS)} files"
            ) from error
        if column not in texts.column_names:
            raise ConfigError(f"column={column!r} is not in {source!r}; choose from {', '.join(texts.column_names)}")
        if (kind := str(texts.features[column])) not in _TEXTS:
            raise ConfigError(f"column={column!r} of {source!r} holds {kind[:80]}: name a column of text")
        return texts

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Texts to learn from, and those held out."""
        order = np.random.default_rng(self.seed).permutation(len(self.texts))
        present = pc.is_valid(self.texts.data.column(self.column)).to_numpy()
        if not present.all():
            rank_zero_warn(
                f"source={self.source!r}: {int((~present).sum())} of {len(order)} texts are missing and left out"
            )
            order = order[present[order]]
        if len(order) < self.n_validation + self.batch_size:
            raise DataError(
                f"source={self.source!r} has {len(order)} texts: too few for n_validation={self.n_validation} "
                f"and a batch of {self.batch_size}"
            )
        return order[: -self.n_validation], order[-self.n_validation :]

    @override
    def _available_steps(self) -> int:
        return len(self._parts[0]) // self.batch_size

    def _batch(self, rows: np.ndarray) -> Batch:
        """This process' share of some rows: `input_ids` and `attention_mask` (b, t) int64, padded on the right."""
        texts = [self.texts[int(row)][self.column] for row in rows[self._rank :: self._world]]
        ids = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"] if texts else []
        return text_batch(ids, self.tokenizer.pad_token_id, min_width=2)

    @override
    def train_batch(self, step: int) -> Batch:
        rows = self._parts[0]
        return self._batch(rows[np.arange(step * self.batch_size, (step + 1) * self.batch_size) % len(rows)])

    def val_dataloader(self) -> DataLoader[Batch]:
        """The held-out texts."""
        rows, size = self._parts[1], self.batch_size
        return ready_batches([self._batch(rows[i : i + size]) for i in range(0, len(rows), size)])
