"""BaseWeights: the values of a base model's parameters, to see later whether they are still the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from madkit.runs.fingerprints import digest


class _Rows(NamedTuple):
    parameter: nn.Parameter
    rows: int | None
    """How many of its rows; None for all of it."""
    total: int


def word_sum(x: Tensor) -> int:
    """The sum, modulo 2^64, of a tensor's bits as 8-byte integers: it changes with any single value.

    It does not depend on the device, nor on the order in which the words are added.

    Example:
        >>> word_sum(torch.ones(4)) == word_sum(torch.ones(4)), word_sum(torch.ones(4)) == word_sum(-torch.ones(4))
        (True, False)
    """
    octets = x.detach().contiguous().flatten().view(torch.uint8)
    octets = nn.functional.pad(octets, (0, -len(octets) % 8)) if len(octets) % 8 else octets
    aligned = octets if octets.storage_offset() % 8 == 0 else octets.clone()
    return int(aligned.view(torch.int64).sum()) % 2**64


class BaseWeights:
    """What the parameters of a model hold now.

    It keeps a number for each, and no copy, so it costs one pass over the weights and no memory.

    Args:
        lm: a model before an adapter is put into it.
    """

    def __init__(self, lm: nn.Module) -> None:
        self._held = {name: _Rows(p, None, word_sum(p)) for name, p in lm.named_parameters() if not p.is_meta}

    @property
    def digest(self) -> str:
        """A digest of all values, names, shapes and number formats."""
        return digest(
            {name: [list(h.parameter.shape), str(h.parameter.dtype), h.total] for name, h in self._held.items()}
        )

    @contextmanager
    def resizing(self, rows: int, weight: Callable[[], nn.Parameter]) -> Iterator[None]:
        """A context in which an embedding is given another number of rows, and those that it keeps are followed.

        Args:
            rows: the new number.
            weight: gives the embedding's parameter, which may be another one afterwards.
        """
        before = weight()
        name = next((name for name, held in self._held.items() if held.parameter is before), None)
        kept = min(rows, len(before))
        total = word_sum(before[:kept])
        yield
        if name is not None:
            self._held[name] = _Rows(weight(), kept, total)

    def changed(self, model: Any) -> list[str]:
        """Names of the parameters that hold other values now, or that are no longer in the model."""
        present = {id(p) for p in model.parameters()}
        return [
            name
            for name, held in self._held.items()
            if id(held.parameter) not in present or _sum_of(held) != held.total
        ]


def _sum_of(held: _Rows) -> int:
    return word_sum(held.parameter if held.rows is None else held.parameter[: held.rows])
