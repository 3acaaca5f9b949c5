"""TensorFile: named tensors in a safetensors file that carries their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically
from madkit.store.checksums import file_checksum, joint_checksum, tensor_checksum

_CHECKSUMS = "crc32"


class TensorFile:
    """Read tensors, each of which is checked when it is first read; copies only the rows asked for.

    Args:
        path: what `save` wrote.

    Raises:
        StoreError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._intact: set[str] = set()
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > path.stat().st_size:
                    raise ValueError("it is cut off")
                header: dict[str, Any] = json.loads(file.read(length))
            self._checksums: dict[str, str] = json.loads(header.pop("__metadata__")[_CHECKSUMS])
            self._ranges = {name: tuple(8 + length + at for at in x["data_offsets"]) for name, x in header.items()}
            self.shapes: dict[str, tuple[int, ...]] = {name: tuple(x["shape"]) for name, x in header.items()}
            if self._checksums.keys() != self.shapes.keys():
                raise ValueError("its checksums are those of other tensors")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    @staticmethod
    def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors, all of them or nothing."""
        content = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        checksums = {name: tensor_checksum(x) for name, x in content.items()}
        write_atomically(path, lambda p: save_file(content, p, {_CHECKSUMS: json.dumps(checksums, sort_keys=True)}))

    @property
    def checksum(self) -> str:
        """The checksum of all tensors."""
        return joint_checksum(self._checksums)

    def read(self, name: str, first: int = 0, last: int | None = None) -> Tensor:
        """A tensor, or its ``first``-th to ``last``-th row.

        Raises:
            StoreError: it is damaged.
        """
        self.check(name)
        try:
            with safe_open(self.path, framework="pt") as file:
                if not self.shapes[name]:
                    return file.get_tensor(name)
                return file.get_slice(name)[first:last]
        except (SafetensorError, OSError, KeyError) as error:
            raise self._damaged(error) from error

    def check(self, *names: str) -> None:
        """Compare tensors, by default all, with their checksums.

        Raises:
            StoreError: one is damaged.
        """
        for name in names or self.shapes:
            if name in self._intact:
                continue
            try:
                found = file_checksum(self.path, *self._ranges[name])
            except (OSError, KeyError) as error:
                raise self._damaged(error) from error
            if found != self._checksums[name]:
                raise self._damaged(f"{name} has checksum {found} and was written with {self._checksums[name]}")
            self._intact.add(name)

    def _damaged(self, reason: object) -> StoreError:
        return StoreError(f"{str(self.path)!r} is missing or damaged ({' '.join(str(reason).split())})")
