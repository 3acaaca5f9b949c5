"""Random numbers that are a function of a key: the same on every machine, in every process and in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Integers = TypeVar("Integers", np.ndarray, "Tensor")

# The constants of SplitMix64 (Steele, Lea and Flood 2014), as signed 64-bit integers.
GAMMA = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def stable_hash(keys: Sequence[str], salt: str) -> np.ndarray:
    """Hash strings to numbers that are the same on every machine and in every process.

    Args:
        keys: n strings, such as record ids.
        salt: Separates independent uses of the same keys (a name, a template, ...).

    Returns:
        (n,) uint64.

    Example:
        >>> int(stable_hash(["a"], "name")[0]) == int(stable_hash(["b", "a"], "name")[1])
        True
    """
    prefix = hashlib.blake2b(salt.encode(), digest_size=8)

    def digest(key: str) -> bytes:
        state = prefix.copy()
        state.update(key.encode())
        return state.digest()

    return np.frombuffer(b"".join(map(digest, keys)), dtype="<u8")


def splitmix64(z: Integers) -> Integers:
    """Mix the bits of integers: the output function of SplitMix64, of numbers that differ by multiples of `GAMMA`.

    Args:
        z: int64 of any shape, as a NumPy array or a torch tensor; products wrap around.

    Returns:
        int64 of that shape, all bits as good as random.

    Example:
        >>> splitmix64(GAMMA * np.arange(1, 3)).view(np.uint64).tolist()  # the first outputs for the seed 0
        [16294208416658607535, 7960286522194355700]
    """
    z = z ^ logical_shift(z, 30)
    z *= _FIRST
    z = z ^ logical_shift(z, 27)
    z *= _SECOND
    return z ^ logical_shift(z, 31)


def logical_shift(z: Integers, bits: int) -> Integers:
    """A right shift that fills with zeros, where that of signed integers repeats the sign."""
    shifted = z >> bits
    shifted &= (1 << (64 - bits)) - 1
    return shifted
