"""Checksums: what is read is what was written.

CRC-32, because it is read at more than a gigabyte a second: these are for damage, not for malice.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_BLOCK = 1 << 22


def tensor_checksum(x: Tensor) -> str:
    """The CRC-32 of a tensor's bytes, in hexadecimal.

    Example:
        >>> tensor_checksum(torch.tensor([1.0, 2.0])), tensor_checksum(torch.tensor([1.0, 2.0]).bfloat16())
        ('2e3fa576', '95f68a1a')
    """
    return f"{zlib.crc32(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data):08x}"


def file_checksum(path: Path, start: int = 0, stop: int | None = None) -> str:
    """The CRC-32 of a file, or of its bytes from ``start`` to ``stop``, in hexadecimal."""
    value, left = 0, path.stat().st_size - start if stop is None else stop - start
    with path.open("rb") as file:
        file.seek(start)
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            value = zlib.crc32(block, value)
            left -= len(block)
    return f"{value:08x}"


def joint_checksum(checksums: Mapping[str, str]) -> str:
    """One checksum of several, by their names."""
    return f"{zlib.crc32(json.dumps(dict(checksums), sort_keys=True).encode()):08x}"
