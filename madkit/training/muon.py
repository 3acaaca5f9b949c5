"""Muon: an optimizer with orthogonal updates, for training small models from random weights in few steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

from madkit.errors import ConfigError

# The quintic polynomial whose iterates bring all singular values near 1 in the fewest steps, as published.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalize(x: Tensor) -> Tensor:
    """Replace the singular values of each matrix by numbers near 1 (Newton-Schulz iteration).

    Args:
        x: (n, rows, columns) floating point, rows <= columns; computed in float32.

    Returns:
        (n, rows, columns) float32, with the singular vectors of x and singular values of about 0.7 to 1.2.
        A matrix of zeros stays zero.

    Example:
        >>> x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
        >>> values = torch.linalg.svdvals(orthogonalize(x))
        >>> bool(((values > 0.6) & (values < 1.3)).all())
        True
    """
    a, b, c = _COEFFICIENTS
    x = x.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Muon for hidden matrices, and AdamW for everything else, in one optimizer.

    A matrix moves by ``lr * sqrt(max(1, rows / columns))`` along the orthogonalized Nesterov momentum of its
    gradient; all matrices of one shape are orthogonalized together. Weight decay is decoupled.

    Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
    (kellerjordan.github.io/posts/muon); AdamW: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2.

    Args:
        params: parameter groups. A group with ``matrices: True`` holds 2-D weights and is trained by Muon; any other
            group, and parameters outside of a group, are trained by AdamW.
        lr: learning rate of Muon.
        momentum: momentum of Muon, from 0 to below 1.
        adam_lr: learning rate of AdamW.
        betas: averaging factors of AdamW.
        eps: the term that keeps AdamW from dividing by zero.
        weight_decay: of both; the share of a weight lost per step is ``lr * weight_decay``.

    Each group has a learning rate, so a scheduler that multiplies learning rates scales both algorithms.

    Raises:
        ConfigError: an argument is out of range, or a group of matrices holds something else.

    Example:
        >>> layer = torch.nn.Linear(4, 4)
        >>> groups = [{"params": [layer.weight], "matrices": True}, {"params": [layer.bias]}]
        >>> [group["lr"] for group in Muon(groups, lr=0.02, adam_lr=0.003).param_groups]
        [0.02, 0.003]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.02,
        momentum: float = 0.95,
        adam_lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        for name, value in (("lr", lr), ("adam_lr", adam_lr), ("eps", eps), ("weight_decay", weight_decay)):
            if value < 0:
                raise ConfigError(f"{name}={value} must not be negative")
        for name, value in (("momentum", momentum), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
            if not 0 <= value < 1:
                raise ConfigError(f"{name}={value} must be at least 0 and below 1")
        self._rates = {True: lr, False: adam_lr}
        # A tuple would come back from a recipe or a checkpoint as a list; both must mean the same.
        defaults = {
            "lr": None,
            "momentum": momentum,
            "betas": (float(betas[0]), float(betas[1])),
            "eps": eps,
            "weight_decay": weight_decay,
            "matrices": False,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; one without ``lr`` gets the learning rate of its algorithm."""
        matrices = bool(param_group.get("matrices", False))
        if param_group.get("lr") is None:
            param_group = {**param_group, "lr": self._rates[matrices]}
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        shapes = [tuple(p.shape) for p in group["params"] if p.ndim != 2]
        if matrices and shapes:
            raise ConfigError(f"matrices=True, but the group holds a weight of shape {shapes[0]}: Muon trains 2-D ones")

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient.

        Args:
            closure: computes the loss and its gradients anew, if given.

        Returns:
            The loss that the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if group["matrices"]:
                self._muon(trained, group)
            else:
                self._adamw(trained, group)
        return loss

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        same_shape = defaultdict(list)
        for p in parameters:
            same_shape[p.shape, p.device].append(p)
        for (shape, _), members in same_shape.items():
            directions = []
            for p in members:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(p.grad)
                directions.append(state["momentum"].mul(group["momentum"]).add_(p.grad))
            stacked = torch.stack(directions)
            tall = shape[0] > shape[1]
            stacked = orthogonalize(stacked.mT).mT if tall else orthogonalize(stacked)
            size = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for p, direction in zip(members, stacked, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=size)

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for p in parameters:
            state = self.state[p]
            if not state:
                # A tensor, so that a checkpoint brings back just what was saved.
                state["step"] = torch.zeros(())
                state["mean"] = torch.zeros_like(p)
                state["square"] = torch.zeros_like(p)
            state["step"] += 1
            step = float(state["step"])
            state["mean"].lerp_(p.grad, 1 - beta1)
            state["square"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            scale = (state["square"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - beta1**step))
