"""Add vectors to what leaves chosen modules of an LM."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from madkit.lm.hooks import hooked

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def added(lm: nn.Module, vectors: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which the outputs of modules are moved.

    Args:
        lm: the model whose ``named_modules`` the keys name.
        vectors: for each module what is added to its output (B, T, d), a tensor (b, t, d): to the last t positions, and
            to all prompts alike where b is 1. The sum is taken in float32 or better, then
            rounded to the model's format.

    Example:
        >>> layer = nn.Sequential(nn.Identity())
        >>> with added(layer, {"0": torch.ones(1, 1, 2)}):
        ...     layer(torch.zeros(1, 2, 2)).tolist()
        [[[0.0, 0.0], [1.0, 1.0]]]
    """
    with hooked(lm.get_submodule(name).register_forward_hook(_adder(vector)) for name, vector in vectors.items()):
        yield


def _adder(vector: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (_moved(output[0], vector), *output[1:])
        return _moved(output, vector)

    return hook


def _moved(hidden: Tensor, vector: Tensor) -> Tensor:
    exact = torch.promote_types(hidden.dtype, torch.float32)
    # Prompts end in the last column, so a vector for fewer positions belongs to the last ones.
    t = min(vector.shape[1], hidden.shape[1])
    moved = hidden.to(exact, copy=True)
    moved[:, hidden.shape[1] - t :] += vector[:, vector.shape[1] - t :].to(hidden.device, exact)
    return moved.to(hidden.dtype)
