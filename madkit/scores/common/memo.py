"""What several scores of a site need alike is computed once: whitened rows, distances, neighbours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


class Memory:
    """Results by the function and the tensors they were computed from.

    Attributes:
        neighbours: how many neighbours are looked up at once, so that fewer can be had without a search.
    """

    def __init__(self, neighbours: int) -> None:
        self.neighbours = neighbours
        self.results: dict[Any, tuple[Any, Any]] = {}


_current: ContextVar[Memory | None] = ContextVar("memory", default=None)


@contextmanager
def sharing(neighbours: int = 0) -> Iterator[None]:
    """Within this block `shared` functions remember their results; at its end all is forgotten."""
    token = _current.set(Memory(neighbours))
    try:
        yield
    finally:
        _current.reset(token)


def memory() -> Memory | None:
    """The innermost `sharing` block's memory, or None."""
    return _current.get()


def shared(function: Callable[P, T]) -> Callable[P, T]:
    """Let a pure function of tensors remember its results within a `sharing` block.

    The tensors are told apart by where they lie, and kept until the block ends so that no other can lie there.

    Example:
        >>> import torch
        >>> calls = []
        >>> double = shared(lambda x: calls.append(1) or 2 * x)
        >>> x = torch.ones(1)
        >>> with sharing():
        ...     double(x) is double(x)
        True
        >>> len(calls)
        1
    """

    @wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> T:
        found = memory()
        if found is None:
            return function(*args, **kwargs)
        key = function, *(place(value) for value in (*args, *kwargs.items()))
        if key not in found.results:
            found.results[key] = function(*args, **kwargs), args
        return found.results[key][0]

    return remembering


def place(value: Any) -> Any:
    """What tells an argument apart: of a dense tensor its memory and form, of anything else itself."""
    if not isinstance(value, Tensor):
        return value
    if value.layout != torch.strided:
        return id(value)
    return value.data_ptr(), value.shape, value.stride(), value.dtype, value.device
