"""Add vectors to the outputs of chosen modules of an LM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from madkit.lm.hooks import hooked


@contextmanager
def shifted_outputs(lm: nn.Module, vectors: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which vectors are added to the outputs of modules.

    Args:
        lm: the model whose ``named_modules`` the keys name.
        vectors: for each module what is added to its output (B, T, d), a tensor (b, t, d): to the last t positions, and
            the same to all prompts where b is 1. The sum is taken in float32 or better, then
            rounded to the model's format.

    Example:
        >>> layer = nn.Sequential(nn.Identity())
        >>> with shifted_outputs(layer, {"0": torch.ones(1, 1, 2)}):
        ...     layer(torch.zeros(1, 2, 2)).tolist()
        [[[0.0, 0.0], [1.0, 1.0]]]
    """
    with hooked(lm.get_submodule(name).register_forward_hook(_hook(vector)) for name, vector in vectors.items()):
        yield


def _hook(vector: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (_shifted(output[0], vector), *output[1:])
        return _shifted(output, vector)

    return hook


def _shifted(hidden: Tensor, vector: Tensor) -> Tensor:
    exact = torch.promote_types(hidden.dtype, torch.float32)
    # Prompts end in the last column, so a vector for fewer positions belongs to the last ones.
    t = min(vector.shape[1], hidden.shape[1])
    shifted = hidden.to(exact, copy=True)
    shifted[:, hidden.shape[1] - t :] += vector[:, vector.shape[1] - t :].to(hidden.device, exact)
    return shifted.to(hidden.dtype)
