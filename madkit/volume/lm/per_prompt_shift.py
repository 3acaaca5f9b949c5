"""One forward pass in which each prompt of a batch meets weights moved by a distance of its own in one direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from madkit.errors import ConfigError
from madkit.volume.weights.weights import Ray, Weights

Own = dict[str, Tensor]


class Fan:
    """A context in which a model's chosen weights are theta + r_b u for prompt b, without being moved.

    A module that is an affine function of its own parameters w gives f(x; w + r u) = f(x; w) + r (f(x; u) - f(x; 0)).
    So it is enough to add, to what the module gives, r times what the direction gives for the same input. That
    costs a second product with a matrix of the same size, and lets each prompt search its own radius while all share
    every pass. Linear maps, embeddings and normalisations are affine; of any other kind of module it is tried out.

    Args:
        lm: the plain transformers model, adapters inside it or not.
        weights: the chosen weights, which must lie whole on this process.

    Raises:
        ConfigError: weights are sharded.
    """

    def __init__(self, lm: nn.Module, weights: Weights) -> None:
        if weights.sharded:
            raise ConfigError("radii of single prompts need whole weights on each process: use ddp, not FSDP")
        self.weights = weights
        names = {id(block.parameter): i for i, block in enumerate(weights.blocks)}
        self.modules: dict[str, tuple[nn.Module, dict[str, int]]] = {}
        for name, module in lm.named_modules():
            own = {key: names[id(p)] for key, p in module.named_parameters(recurse=False) if id(p) in names}
            if own:
                self.modules[name] = module, own
        self._steps: list[Tensor] = []
        self._used: set[int] = set()
        self._tried: set[type] = set()
        self._inside = False
        self._factor = 0.0
        self._radii = torch.zeros(0)
        self._handles: list[Any] = []

    def aim(self, ray: Ray) -> None:
        """Make the direction that all prompts follow from now on, once, in each parameter's number format."""
        self._steps = [self.weights.step(block, ray.direction) for block in self.weights.blocks]
        self._factor = 1 / (ray.length * ray.stretch)

    @contextmanager
    def at(self, radii: Tensor) -> Iterator[None]:
        """A context in which what passes through the model is at these distances (B,), prompt by prompt."""
        before, self._radii = self._radii, radii
        try:
            yield
        finally:
            self._radii = before

    def require_complete(self) -> None:
        """Say so if a pass went around a module whose weights are chosen.

        Raises:
            ConfigError: naming one of their parameters.
        """
        missing = [b.name for i, b in enumerate(self.weights.blocks) if i not in self._used]
        if missing:
            raise ConfigError(
                f"weights chooses {missing[0]!r} and the model uses it without calling its module, so it cannot be "
                "moved for one prompt alone; choose other weights by a regular expression"
            )

    def __enter__(self) -> Fan:
        for name, (module, own) in self.modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name, own), with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, name: str, own: dict[str, int]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if self._inside:
                return None
            if not isinstance(output, Tensor) or len(output) != len(self._radii):
                raise ConfigError(
                    f"module {name!r} does not give one tensor with a row for each prompt, so its weights cannot be "
                    "moved for one prompt alone; choose other weights by a regular expression"
                )
            self._used.update(own.values())
            step = {key: self._steps[i] for key, i in own.items()}
            effect = self._effect(name, module, step, args, kwargs)
            factors = (self._radii * self._factor).to(torch.promote_types(output.dtype, torch.float32))
            factors = factors.view(-1, *[1] * (output.ndim - 1))
            return (output + factors * effect).to(output.dtype)

        return hook

    def _effect(self, name: str, module: nn.Module, step: Own, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """What the direction gives for a module's input: the derivative of its output along it."""
        if type(module) is nn.Linear and not kwargs:
            bias = step.get("bias")
            if "weight" in step:
                return F.linear(args[0], step["weight"], bias)
        if type(module) is nn.Embedding and not kwargs:
            return F.embedding(args[0], step["weight"])
        others = {key: torch.zeros_like(p) for key, p in module.named_parameters(recurse=False) if key not in step}
        nothing = {key: torch.zeros_like(x) for key, x in step.items()}
        effect = self._call(module, step | others, args, kwargs) - self._call(module, nothing | others, args, kwargs)
        if type(module) not in self._tried:
            self._try(name, module, step, effect, args, kwargs)
            self._tried.add(type(module))
        return effect

    def _try(
        self, name: str, module: nn.Module, step: Own, effect: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Refuse a kind of module that is not affine in its parameters."""
        now = {key: p.detach() for key, p in module.named_parameters(recurse=False)}
        moved = now | {key: now[key] + x for key, x in step.items()}
        expected = self._call(module, moved, args, kwargs) - self._call(module, now, args, kwargs)
        error, scale = (effect - expected).detach().abs().max(), expected.detach().abs().max()
        tolerance = 1e-3 if effect.dtype in (torch.float32, torch.float64) else 5e-2
        if not float(error) <= tolerance * float(scale):
            raise ConfigError(
                f"module {name!r} ({type(module).__name__}) is not an affine function of its weights, so they cannot "
                "be moved for one prompt alone; choose other weights by a regular expression"
            )

    def _call(self, module: nn.Module, values: Own, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The module with other parameters, and without this hook."""
        self._inside = True
        try:
            return torch.func.functional_call(module, values, args, kwargs)
        finally:
            self._inside = False
