"""Random directions, generated from a seed wherever they are needed and never stored."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from torch import Tensor

from madkit.statistics.hashing import GAMMA, logical_shift, splitmix64


@dataclass(frozen=True)
class Direction:
    """One of the random directions of a seed.

    Element i of tensor ``name`` is a function of (seed, number, name, i) alone. So a process generates just the part
    that it holds, in any order, on any device, and the parts of all processes are one vector.

    Attributes:
        seed: which family of directions.
        number: which of them.
    """

    seed: int
    number: int

    def normals(self, name: str, index: Tensor) -> Tensor:
        """Independent standard normal numbers.

        Args:
            name: the tensor that they belong to.
            index: int64 indices of elements in it, any shape.

        Returns:
            float32 numbers of that shape, on its device; between devices they may differ in the last bit.

        Example:
            >>> import torch
            >>> complete = Direction(0, 0).normals("weight", torch.arange(6))
            >>> torch.equal(complete[4:], Direction(0, 0).normals("weight", torch.arange(4, 6)))
            True
        """
        text = f"{self.seed}/{self.number}/{name}".encode()
        key = int.from_bytes(hashlib.sha256(text).digest()[:8], "little", signed=True)
        bits = splitmix64(index * GAMMA + key)
        # Box and Muller (1958), with 32 bits for the length and 32 for the angle.
        length = logical_shift(bits, 32).float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).clamp_(min=0).sqrt_()
        angle = bits.bitwise_and_(0xFFFFFFFF).float().mul_(2.0 * math.pi * 2.0**-32)
        return length.mul_(angle.cos_())
