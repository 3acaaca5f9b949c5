"""Read the tensors inside an LM by module name, with gradients where wanted, and stop after the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from madkit.errors import ConfigError
from madkit.lm.text_decoder import layer_names


class Hookpoint(NamedTuple):
    """A tensor inside a model: what enters or leaves a module."""

    module: str
    """Name as in ``model.named_modules()``, such as ``model.layers.12``."""
    side: Literal["input", "output"]


class StopForward(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a hook once every hookpoint has been read."""


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """A context at whose end hooks are removed.

    Args:
        handles: the handles of registered hooks. A generator registers them when the context is entered, and if one
            cannot be registered, those before it are removed.

    Example:
        >>> layer, seen = nn.Identity(), []
        >>> with hooked([layer.register_forward_hook(lambda *_: seen.append("called"))]):
        ...     _ = layer(torch.zeros(1))
        >>> _ = layer(torch.zeros(1))
        >>> seen
        ['called']
    """
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def every_nth_layer(lm: nn.Module, first: int, step: int, feature: str) -> list[str]:
    """Names of every ``step``-th decoder layer from ``first`` on.

    Raises:
        ConfigError: the model has no layer ``first``.
    """
    layers = layer_names(lm)
    if first >= len(layers):
        raise ConfigError(
            f"{feature}(first={first}): the model has layers 0..{len(layers) - 1}; choose a smaller `first`"
        )
    return layers[first::step]


def last_token(tensor: Tensor) -> Tensor:
    """The vectors (B, d) at the last position, which holds every prompt's last token if padding is on the left."""
    return tensor[:, -1]


def all_tokens(tensor: Tensor) -> Tensor:
    """The vectors (B, T, d) at all positions."""
    return tensor


class Reader:
    """A context in which one forward pass leaves the vectors of the given hookpoints in ``values``.

    By default those of the last token only. With ``stop=True`` the forward pass ends as soon as the last hookpoint has
    been read, by a ``StopForward`` that does not leave the context.

    Gradients with respect to traced hookpoints are taken by `gradients`, within the context or after it. All weights
    being frozen, autograd's graph starts at the first traced tensor.

    Args:
        lm: the model whose ``named_modules`` the hookpoints name.
        hookpoints: what to read.
        stop: end the forward pass after the last reading.
        traced: those of the hookpoints whose gradients are wanted. Needs gradient mode.
        keep: which positions of (B, T, d) are kept.
    """

    def __init__(
        self,
        lm: nn.Module,
        hookpoints: Iterable[Hookpoint],
        *,
        stop: bool,
        traced: Iterable[Hookpoint] = (),
        keep: Callable[[Tensor], Tensor] = last_token,
    ) -> None:
        self.points = list(dict.fromkeys(hookpoints))
        self.modules = {point: lm.get_submodule(point.module) for point in self.points}
        self.stop = stop
        self.keep = keep
        self.values: dict[Hookpoint, Tensor] = {}
        self._traced = frozenset(traced)
        self._tensors: dict[Hookpoint, Tensor] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> Reader:
        self._hooks.enter_context(hooked(self._register(point, module) for point, module in self.modules.items()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._hooks.close()
        return kind is StopForward

    def _register(self, point: Hookpoint, module: nn.Module) -> RemovableHandle:
        if point.side == "input":
            return module.register_forward_pre_hook(self._before(point), with_kwargs=True)
        return module.register_forward_hook(self._after(point))

    def gradients(self, of: Tensor, points: Sequence[Hookpoint]) -> dict[Hookpoint, Tensor]:
        """Gradients (B, d) at the last token of traced hookpoints, by one backward pass that ends at the earliest.

        Args:
            of: a number for each prompt (B,), computed from this pass.
            points: traced hookpoints that come before it.
        """
        # Prompts do not see each other, so the gradient of the sum is that of each prompt's number.
        gradients = torch.autograd.grad(of.sum(), [self._tensors[p] for p in points], retain_graph=True)
        return {p: g[:, -1].clone() for p, g in zip(points, gradients, strict=True)}

    def traced(self, point: Hookpoint) -> Tensor:
        """The last-token vectors (B, d) of a traced hookpoint, through which gradients flow."""
        return self._tensors[point][:, -1]

    def _keep(self, point: Hookpoint, tensor: Tensor) -> Tensor:
        # A clone, because a view would keep all positions in memory.
        self.values[point] = self.keep(tensor).detach().clone()
        if self.stop and len(self.values) == len(self.points):
            raise StopForward
        if point in self._traced:
            tensor = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            self._tensors[point] = tensor
        return tensor

    def _before(self, point: Hookpoint) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (self._keep(point, args[0]), *args[1:]), kwargs
            name = next(name for name, value in kwargs.items() if isinstance(value, Tensor) and value.ndim > 1)
            return args, {**kwargs, name: self._keep(point, kwargs[name])}

        return hook

    def _after(self, point: Hookpoint) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):
                return (self._keep(point, output[0]), *output[1:])
            return self._keep(point, output)

        return hook
