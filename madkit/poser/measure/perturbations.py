"""Perturbations of activations: a random direction, the steering vector itself, and noise."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from madkit.errors import ConfigError
from madkit.runs.fingerprints import code_digest


class Positions(NamedTuple):
    """The token positions of B prompts that are moved."""

    rows: Sequence[int]
    """The number of each prompt."""
    lengths: Sequence[int]
    """How many tokens each prompt has."""
    width: int
    """How many of its last positions are moved: 1, or the longest prompt's tokens."""


def published_coefficients() -> list[float]:
    """0 to 20."""
    return [float(c) for c in range(21)]


@dataclass
class Perturbation(ABC):
    """Something that is added to the outputs of layers, times a coefficient.

    Its random numbers depend on seed, layer, number of the draw and prompt, and not on the model: both models of a pair
    get the same ones. Its size is the norm of the model's steering vector at the layer, or a given norm.

    Args:
        layers: the layers whose outputs are moved, together; null for the recipe's one layer.
        tokens: ``last`` moves the last token of each prompt [as published], ``all`` every token.
        coefficients: what it is multiplied by, one measurement each.
        draws: how often the random numbers are drawn anew.
        norm: its length at coefficient 1; null for that of the model's steering vector [as published]. Models whose
            steering vectors differ in length get perturbations of the same length only under a given norm.
        seed: which random numbers.
        label: the name in results; null for that of its class.

    Raises:
        ConfigError: an argument is out of range.
    """

    layers: list[int] | None = None
    tokens: Literal["last", "all"] = "last"
    coefficients: list[float] = field(default_factory=published_coefficients)
    draws: int = 1
    norm: float | None = None
    seed: int = 0
    label: str | None = None

    default_label: ClassVar[str]
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.tokens not in ("last", "all"):
            raise ConfigError(f"{name}(tokens={self.tokens!r}): choose last or all")
        if not self.coefficients or len(set(self.coefficients)) < len(self.coefficients):
            raise ConfigError(f"{name}(coefficients={self.coefficients}) must be different numbers, at least one")
        if self.draws < 1 or (self.draws > 1 and not self.random):
            raise ConfigError(
                f"{name}(draws={self.draws}): use {'at least 1' if self.random else '1, it has no chance'}"
            )
        if self.norm is not None and not 0 < self.norm < float("inf"):
            raise ConfigError(f"{name}(norm={self.norm}) must be positive, or null for the steering vector's")
        if self.layers is not None and (not self.layers or len(set(self.layers)) < len(self.layers)):
            raise ConfigError(f"{name}(layers={self.layers}) must be different layers, at least one")

    @property
    def name(self) -> str:
        """The name in results."""
        return self.label or self.default_label

    def options(self, layer: int) -> dict[str, Any]:
        """What decides its numbers, the source of its class included.

        Args:
            layer: the layer of perturbations that name none.
        """
        identity = {"class": type(self).__name__, "source": code_digest(type(self))}
        return {**identity, **asdict(self), "layers": self.layers or [layer]}

    def size(self, norms: Mapping[int, float], layer: int) -> float:
        """Its length at coefficient 1: over several layers, the root of the sum of squares.

        Args:
            norms: of the model's steering vectors, by layer.
            layer: the layer of perturbations that name none.
        """
        return sum((self.norm or norms[at]) ** 2 for at in self.layers or [layer]) ** 0.5

    def vector(self, steering: Tensor, layer: int, draw: int, lengths: Sequence[int], rows: Sequence[int]) -> Tensor:
        """What is added at coefficient 1.

        Args:
            steering: the model's steering vector at the layer (d,), float32.
            layer: the layer's number.
            draw: the number of the draw.
            lengths: how many tokens each of B prompts has.
            rows: the number of each prompt.

        Returns:
            (b, t, d) float32, b being B or 1 and t being 1 or the longest prompt's tokens, the last column
            being the last token.

        Raises:
            ConfigError: the steering vector is 0 and there is no norm.
        """
        size = float(steering.norm()) if self.norm is None else self.norm
        if not 0 < size < float("inf"):
            raise ConfigError(
                f"{type(self).__name__}: the steering vector at layer {layer} has norm {size}; give a `norm`"
            )
        width = max(lengths) if self.tokens == "all" else 1
        return self.shape(steering, size, layer, draw, Positions(rows, lengths, width))

    @abstractmethod
    def shape(self, steering: Tensor, size: float, layer: int, draw: int, positions: Positions) -> Tensor:
        """The vector at a given size and at given positions."""

    def generator(self, *keys: object) -> torch.Generator:
        """A source of random numbers on the CPU, the same for every model, batch and device."""
        text = "/".join(map(str, (self.seed, *keys)))
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(seed)


@dataclass
class RandomDirection(Perturbation):
    """One random direction for all prompts.

    Args:
        distribution: ``normal``, uniform on the sphere, or ``uniform``, numbers from 0 to 1 scaled to the same length
            [what the published code drew; such vectors all point roughly in the same direction, (1, ..., 1)].
    """

    distribution: Literal["normal", "uniform"] = "normal"
    default_label: ClassVar[str] = "random direction"

    def shape(self, steering: Tensor, size: float, layer: int, draw: int, positions: Positions) -> Tensor:
        """The same vector at every position of every prompt."""
        source = self.generator("direction", layer, draw)
        draw_numbers = torch.rand if self.distribution == "uniform" else torch.randn
        drawn = draw_numbers(len(steering), generator=source)
        return (drawn * (size / drawn.norm())).expand(1, positions.width, -1)


@dataclass
class Steering(Perturbation):
    """The steering vector itself (contrastive activation addition).

    Args:
        sign: -1 moves away from the critical fact, towards a prompt that says nothing about oversight [as published];
            1 moves towards it.
    """

    sign: Literal[-1, 1] = -1
    default_label: ClassVar[str] = "steering vector"
    random: ClassVar[bool] = False

    def shape(self, steering: Tensor, size: float, layer: int, draw: int, positions: Positions) -> Tensor:
        """The same vector at every position of every prompt."""
        if not float(steering.norm()) > 0:
            raise ConfigError(f"Steering: the steering vector at layer {layer} is 0 and has no direction; leave it out")
        return (steering * (self.sign * size / steering.norm())).expand(1, positions.width, -1)


@dataclass
class GaussianNoise(Perturbation):
    """Zero-mean Gaussian noise, independent for every prompt and position; its root-mean-square length is the size."""

    default_label: ClassVar[str] = "gaussian noise"

    def shape(self, steering: Tensor, size: float, layer: int, draw: int, positions: Positions) -> Tensor:
        """Another vector at every position of every prompt."""
        rows, lengths, width = positions
        d = len(steering)
        noise = torch.zeros(len(rows), width, d)
        for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            t = min(length, width)
            drawn = torch.randn(t, d, generator=self.generator("noise", layer, draw, row))
            noise[index, width - t :] = drawn.flip(0)  # the last token's noise comes first, however long the prompt
        return noise * (size / d**0.5)
