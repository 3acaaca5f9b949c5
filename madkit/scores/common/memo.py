"""What several scores of a site need is computed once: whitened rows, distances, neighbours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


class Memo:
    """Results by the function and the tensors they were computed from.

    Attributes:
        neighbours: how many neighbours are looked up at once, so that fewer can be had without a search.
    """

    def __init__(self, neighbours: int) -> None:
        self.neighbours = neighbours
        self.results: dict[Any, tuple[Any, Any]] = {}


_current: ContextVar[Memo | None] = ContextVar("memo", default=None)


@contextmanager
def sharing(neighbours: int = 0) -> Iterator[None]:
    """Within this block `shared` functions remember their results; at its end they are forgotten."""
    token = _current.set(Memo(neighbours))
    try:
        yield
    finally:
        _current.reset(token)


def current_memo() -> Memo | None:
    """The memo of the innermost `sharing` block, or None."""
    return _current.get()


def shared(function: Callable[P, T]) -> Callable[P, T]:
    """Let a pure function of tensors remember its results within a `sharing` block.

    Tensors are told apart by their address, and kept until the block ends so that no other can have it.

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
        memo = current_memo()
        if memo is None:
            return function(*args, **kwargs)
        key = function, *(argument_key(value) for value in (*args, *kwargs.items()))
        if key not in memo.results:
            memo.results[key] = function(*args, **kwargs), args
        return memo.results[key][0]

    return remembering


def argument_key(value: Any) -> Any:
    """What tells an argument from others: of a dense tensor its address and form, of anything else the value."""
    if not isinstance(value, Tensor):
        return value
    if value.layout != torch.strided:
        return id(value)
    return value.data_ptr(), value.shape, value.stride(), value.dtype, value.device
