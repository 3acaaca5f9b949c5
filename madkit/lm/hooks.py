"""Read what passes through an LM by module name, and stop the forward pass after the last reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from madkit.errors import ConfigError


class Hookpoint(NamedTuple):
    """A tensor inside a model: what enters or leaves a module."""

    module: str
    """Name as in ``model.named_modules()``, such as ``model.layers.12``."""
    side: Literal["input", "output"]


class StopForward(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a hook once everything asked for has been read."""


def layer_names(lm: nn.Module) -> list[str]:
    """Names of the decoder layers, first to last, for any causal LM that keeps them in one ``ModuleList``.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> tiny = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 9}
        >>> layer_names(LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **tiny)))
        ['model.layers.0', 'model.layers.1']
    """
    config: Any = lm.config
    depth = config.num_hidden_layers
    for name, module in lm.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return [f"{name}.{i}" for i in range(depth)]
    raise ConfigError(
        f"model.base: {type(lm).__name__} keeps its {depth} layers in no single ModuleList; only such models have sites"
    )


def last_token(tensor: Tensor) -> Tensor:
    """The vectors (B, d) at the last position, which holds every prompt's last token if padding is on the left."""
    return tensor[:, -1]


def all_tokens(tensor: Tensor) -> Tensor:
    """The vectors (B, T, d) at all positions."""
    return tensor


class Reader:
    """A context in which one forward pass leaves the vectors of the given hookpoints in ``values``.

    By default those of the last token, and then not the sequences they come from. With ``stop=True`` the forward pass
    ends as soon as the last hookpoint has been read, by a ``StopForward`` that the context swallows.

    Args:
        lm: the model whose ``named_modules`` the hookpoints name.
        hookpoints: what to read.
        stop: end the forward pass after the last reading.
        keep: which positions of (B, T, d) are kept.
    """

    def __init__(
        self,
        lm: nn.Module,
        hookpoints: Iterable[Hookpoint],
        *,
        stop: bool,
        keep: Callable[[Tensor], Tensor] = last_token,
    ) -> None:
        self.points = list(dict.fromkeys(hookpoints))
        self.modules = {point: lm.get_submodule(point.module) for point in self.points}
        self.stop = stop
        self.keep = keep
        self.values: dict[Hookpoint, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Reader:
        for point, module in self.modules.items():
            if point.side == "input":
                handle = module.register_forward_pre_hook(self._before(point), with_kwargs=True)
            else:
                handle = module.register_forward_hook(self._after(point))
            self._handles.append(handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        return kind is StopForward

    def _keep(self, point: Hookpoint, tensor: Tensor) -> None:
        # A clone, because a view would keep the whole sequence alive.
        self.values[point] = self.keep(tensor).detach().clone()
        if self.stop and len(self.values) == len(self.points):
            raise StopForward

    def _before(self, point: Hookpoint) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(point, args[0] if args else kwargs["hidden_states"])

        return hook

    def _after(self, point: Hookpoint) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._keep(point, output[0] if isinstance(output, tuple) else output)

        return hook
