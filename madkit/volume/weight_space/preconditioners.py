"""Preconditioners of determinant 1: where to look for directions, with an importance weight that corrects for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError


class Preconditioner(ABC):
    r"""A linear map P with \|det P\| = 1 from a uniform direction v to the direction P v that is followed.

    With P close to the inverse square root of the loss' Hessian, the radius hardly depends on the direction, and far
    fewer directions are needed (arXiv 2501.18812, section on preconditioning). The estimate stays unbiased: each
    direction is weighted by \|P v\|^-D.
    """

    @abstractmethod
    def __call__(self, v: Tensor) -> Tensor:
        """P v (k, D) for each row of v (k, D)."""


class Diagonal(Preconditioner):
    """A diagonal P, given up to a factor.

    Args:
        scales: (D,) positive numbers.

    Raises:
        ConfigError: one is not positive and finite.

    Example:
        >>> Diagonal(torch.tensor([1.0, 4.0])).scales
        tensor([0.5000, 2.0000], dtype=torch.float64)
    """

    def __init__(self, scales: Tensor) -> None:
        logs = _logs("Diagonal(scales)", scales)
        self.scales = (logs - logs.mean()).exp()

    @override
    def __call__(self, v: Tensor) -> Tensor:
        return v * self.scales.to(v)


class Matrix(Preconditioner):
    """A full P, given up to a factor; for functions of a few thousand numbers.

    Args:
        matrix: (D, D), invertible.

    Raises:
        ConfigError: it has no inverse, or is not square.
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ConfigError(f"Matrix(matrix): its shape {tuple(matrix.shape)} is not square")
        matrix = matrix.double()
        _, log_determinant = torch.linalg.slogdet(matrix)
        if not torch.isfinite(log_determinant):
            raise ConfigError("Matrix(matrix): it has no inverse; add a multiple of the identity")
        self.matrix = matrix * (-log_determinant / len(matrix)).exp()

    @override
    def __call__(self, v: Tensor) -> Tensor:
        return v @ self.matrix.to(v).T


class Blocks:
    """A diagonal P over the weights of a model, by parameter name.

    Args:
        scales: positive numbers by name, each of its parameter's shape, up to a common factor.

    Raises:
        ConfigError: one is not positive and finite.
    """

    def __init__(self, scales: Mapping[str, Tensor]) -> None:
        logs = {name: _logs(f"Blocks(scales[{name!r}])", x) for name, x in scales.items()}
        count = sum(x.numel() for x in logs.values())
        mean = sum(float(x.sum()) for x in logs.values()) / max(count, 1)
        self.scales = {name: (x - mean).exp() for name, x in logs.items()}


def inverse_root(curvature: Tensor, exponent: float = 0.5, eps: float = 1e-3) -> Tensor:
    r"""Scales 1 / (\|h\|^exponent + eps) from a diagonal curvature h, such as Adam's second moment.

    Args:
        curvature: any shape.
        exponent: 0.5 makes an ellipsoid round if h is its Hessian's diagonal.
        eps: bounds the scales where there is no curvature [1e-3, 1e-5 in the study of arXiv 2501.18812].

    Raises:
        ConfigError: eps is not positive.
    """
    if not eps > 0:
        raise ConfigError(f"inverse_root(eps={eps}): must be positive, for where there is no curvature")
    return 1 / (curvature.double().abs() ** exponent + eps)


def adam_scales(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, Tensor]],
    exponent: float = 0.5,
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """Scales for `Blocks` from the second moments of an Adam optimizer.

    Args:
        optimizer: with ``exp_avg_sq`` for every parameter.
        named_parameters: of the model, such as ``model.named_parameters()``.
        exponent: see `inverse_root`.
        eps: see `inverse_root`.

    Raises:
        ConfigError: the optimizer has no second moment of a parameter.
    """
    scales = {}
    for name, parameter in named_parameters:
        state = optimizer.state.get(parameter, {})
        if "exp_avg_sq" not in state:
            raise ConfigError(f"optimizer has no second moment of {name!r}: give an Adam that has trained it")
        scales[name] = inverse_root(state["exp_avg_sq"], exponent, eps)
    return scales


def _logs(name: str, x: Tensor) -> Tensor:
    x = x.detach().double()
    if not bool((x > 0).all()) or not bool(torch.isfinite(x).all()):
        raise ConfigError(f"{name}: all scales must be positive and finite; see `inverse_root`")
    return x.log()
