"""ModelMemo: what a feature has made of the weights of the model that it met last."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from torch import nn

T = TypeVar("T")


class ModelMemo(Generic[T]):
    """What was made of one model, made anew for another.

    A copy is empty: who copies a feature wants one for another model, or for the same one in another state, and no copy
    of the model.

    Example:
        >>> memo, first, second = ModelMemo(), nn.Linear(1, 2), nn.Linear(1, 3)
        >>> [memo.of(lm, lambda lm=lm: lm.out_features) for lm in (first, second, second)]
        [2, 3, 3]
    """

    def __init__(self) -> None:
        self._met: tuple[weakref.ref[nn.Module], T] | None = None

    def of(self, lm: nn.Module, make: Callable[[], T]) -> T:
        """What was made of this very model, or what `make` makes of it now."""
        if self._met is None or self._met[0]() is not lm:
            self._met = weakref.ref(lm), make()
        return self._met[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()
