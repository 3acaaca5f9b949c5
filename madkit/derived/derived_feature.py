"""The interface of features that are made of stored ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from madkit.errors import DataError, NotFittedError
from madkit.scores.common.saved_module import SavedModule
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant
from madkit.streaming.accumulator import Accumulator, merge_processes
from madkit.streaming.validation import check_rows


class DerivedSite(NamedTuple):
    """A site of a derived feature."""

    name: str
    """As results call it."""
    layer: int | None
    """The layer that it belongs to, where it belongs to one."""
    sources: tuple[tuple[Variant, str], ...]
    """The stored features and sites that its vectors are made of."""


class DerivedFeature(SavedModule):
    """Stored vectors of a prompt become one vector, the same way at every site.

    A subclass says which stored features it reads (``variants``), which sites follow from theirs (``sites``) and how
    vectors are made (``vectors``). One that learns from the trusted prompts first names an `accumulator` for its joined
    source vectors and defines ``estimate``. It keeps each constructor argument as an attribute of the same name.

    As of a score, everything is float64, and the result depends neither on batches nor on the number of processes.

    Class attributes:
        needs: what it needs besides the tuned model and trusted prompts.
        accumulator: the statistics that are kept of the trusted rows; None where there is nothing to learn.

    Args:
        feature: the stored feature that it is made of.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    accumulator: ClassVar[type[Accumulator] | None] = None

    def __init__(self, feature: str = "activations") -> None:
        super().__init__()
        self.feature = feature
        self._statistics = self.accumulator() if self.accumulator is not None else None
        self.fitted = self.accumulator is None

    @abstractmethod
    def variants(self) -> list[Variant]:
        """The stored features that it reads."""

    @abstractmethod
    def sites(self, stored: Mapping[Variant, FeatureStore]) -> list[DerivedSite]:
        """The sites that follow from those of the stores."""

    @abstractmethod
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        """The vectors (b, d) of prompts.

        Args:
            sources: (b, d_i) float64 for each source of the site.
            trusted: whether they are among the prompts that it has learned from.
        """

    def estimate(self, statistics: Any, widths: Sequence[int]) -> dict[str, Tensor]:
        """Turn the result of `accumulator` over joined sources, of these widths, into named fitted tensors."""
        raise NotImplementedError

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, sources: Sequence[Tensor]) -> None:
        """Add the source vectors (b, d_i) of trusted prompts to what it learns from.

        Raises:
            NotFittedError: it is finalized.
            DataError: a vector is NaN or infinite, or has another length than before.
        """
        if self.fitted or self._statistics is None:
            raise NotFittedError(f"{self.short}.update() after finalize(): the state is frozen, fit a new one")
        checked = [_float64(x) for x in sources]
        self._widths = [x.shape[1] for x in checked]
        rows = check_rows(torch.cat(checked, dim=1), self.d)
        self.d = rows.shape[1]
        self._statistics.to(rows.device).update(rows)

    @torch.inference_mode(False)
    @torch.no_grad()
    def finalize(self, widths: Sequence[int] | None = None) -> None:
        """Merge over all processes, estimate and freeze. Calling it again changes nothing.

        Args:
            widths: the lengths of the source vectors, for a process that has had no trusted prompts.

        Raises:
            DataError: no process has seen a trusted prompt.
        """
        if self.fitted or self._statistics is None:
            return
        total = merge_processes(self._statistics)
        if not total.n:
            raise DataError(f"{self.short} has seen no trusted prompts: update it with some before finalize()")
        self.d = int(total.width)
        self._freeze(self.estimate(total.result(), widths or self._widths))
        self._statistics.reset()

    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, sources: Sequence[Tensor], trusted: bool = False) -> Tensor:
        """The vectors (b, d) float64 of prompts whose source vectors are (b, d_i).

        Args:
            sources: one tensor for each source of the site.
            trusted: whether these prompts are among those that it has learned from, which matters to what a regression
                leaves of them.

        Raises:
            NotFittedError: it has to learn first.
        """
        self.finalize([x.shape[1] for x in sources])
        return self.vectors([_float64(x) for x in sources], trusted)


def _float64(x: Tensor) -> Tensor:
    if x.layout != torch.strided:
        raise DataError("derived features are made of dense vectors, not of sparse ones: name another feature")
    return x.double()
