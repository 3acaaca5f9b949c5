"""One forward pass in which the weights are shifted along one direction, by another distance for each prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from madkit.errors import ConfigError
from madkit.lm.hooks import hooked
from madkit.volume.weight_space.weights import Ray, Weights

#: Tensors by the name of a module's parameter.
NamedTensors = dict[str, Tensor]


class PerPromptShift:
    """A context in which a model's chosen weights are theta + r_b u for prompt b, without being moved.

    A module that is an affine function of its parameters w gives f(x; w + r u) = f(x; w) + r (f(x; u) - f(x; 0)).
    So it is enough to add, to the output of the module, r times what the direction gives for the same input. That
    costs a second product with a matrix of the same size, and lets each prompt search its radius while all share
    every pass. Linear maps, embeddings and normalisations are affine; other modules are tested when they are met.

    Args:
        lm: the plain transformers model, adapters inside it or not.
        weights: the chosen weights, which must not be sharded.

    Raises:
        ConfigError: weights are sharded.
    """

    def __init__(self, lm: nn.Module, weights: Weights) -> None:
        if weights.sharded:
            raise ConfigError("radii of single prompts need unsharded weights on each process: use ddp, not FSDP")
        self.weights = weights
        numbers = {id(block.parameter): i for i, block in enumerate(weights.blocks)}
        # Each module with chosen parameters, and the number of the block of each of them.
        self._modules: dict[str, tuple[nn.Module, dict[str, int]]] = {}
        for name, module in lm.named_modules():
            parameters = module.named_parameters(recurse=False)
            blocks = {key: numbers[id(p)] for key, p in parameters if id(p) in numbers}
            if blocks:
                self._modules[name] = module, blocks
        self._steps: list[Tensor] = []
        self._used: set[int] = set()
        self._affine: set[type] = set()
        self._inside = False
        self._factor = 0.0
        self._radii = torch.zeros(0)
        self._tokens = 1
        self._hooks = ExitStack()

    def follow(self, ray: Ray) -> None:
        """Choose the direction of the shift, and generate it once, in each parameter's number format."""
        self._steps = [block.step(ray.direction) for block in self.weights.blocks]
        self._factor = 1 / (ray.length * ray.stretch)

    @contextmanager
    def at(self, radii: Tensor, tokens: int = 1) -> Iterator[None]:
        """A context in which the prompts that pass through the model are at these distances (B,).

        Args:
            radii: a distance for each prompt.
            tokens: how many each has, padding included; some layers lay the tokens of all prompts one after another.
        """
        before = self._radii, self._tokens
        self._radii, self._tokens = radii, tokens
        try:
            yield
        finally:
            self._radii, self._tokens = before

    def require_complete(self) -> None:
        """Refuse a model whose forward pass went around a module with chosen weights.

        Raises:
            ConfigError: naming one of their parameters.
        """
        missing = [b.name for i, b in enumerate(self.weights.blocks) if i not in self._used]
        if missing:
            raise ConfigError(
                f"weights chooses {missing[0]!r} and the model uses it without calling its module, so it cannot be "
                "moved for one prompt alone; choose other weights by a regular expression"
            )

    def __enter__(self) -> PerPromptShift:
        self._hooks.enter_context(
            hooked(
                module.register_forward_hook(self._hook(name, blocks), with_kwargs=True)
                for name, (module, blocks) in self._modules.items()
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.close()

    def _hook(self, name: str, blocks: dict[str, int]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if self._inside:
                return None
            radii = self._radii
            if isinstance(output, Tensor) and len(output) == len(radii) * self._tokens != len(radii):
                radii = radii.repeat_interleave(self._tokens)
            if not isinstance(output, Tensor) or len(output) != len(radii):
                raise ConfigError(
                    f"module {name!r} does not give one tensor with a row for each prompt, so its weights cannot be "
                    "moved for one prompt alone; choose other weights by a regular expression"
                )
            self._used.update(blocks.values())
            step = {key: self._steps[i] for key, i in blocks.items()}
            effect = self._effect(name, module, step, args, kwargs)
            factors = (radii * self._factor).to(torch.promote_types(output.dtype, torch.float32))
            factors = factors.view(-1, *[1] * (output.ndim - 1))
            return (output + factors * effect).to(output.dtype)

        return hook

    def _effect(
        self, name: str, module: nn.Module, step: NamedTensors, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """What the direction gives for a module's input: the derivative of its output along it."""
        if type(module) is nn.Linear and not kwargs:
            bias = step.get("bias")
            if "weight" in step:
                return F.linear(args[0], step["weight"], bias)
        if type(module) is nn.Embedding and not kwargs:
            return F.embedding(args[0], step["weight"])
        others = {key: torch.zeros_like(p) for key, p in module.named_parameters(recurse=False) if key not in step}
        zero = {key: torch.zeros_like(x) for key, x in step.items()}
        effect = self._call(module, step | others, args, kwargs) - self._call(module, zero | others, args, kwargs)
        if type(module) not in self._affine:
            self._require_affine(name, module, step, effect, args, kwargs)
            self._affine.add(type(module))
        return effect

    def _require_affine(
        self,
        name: str,
        module: nn.Module,
        step: NamedTensors,
        effect: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Refuse a module that is not affine in its parameters."""
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

    def _call(
        self, module: nn.Module, parameters: NamedTensors, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """The module with other parameters, and without this hook."""
        self._inside = True
        try:
            return torch.func.functional_call(module, parameters, args, kwargs)
        finally:
            self._inside = False
