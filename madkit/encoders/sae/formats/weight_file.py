"""WeightFile: tensors of a safetensors or npz file, each read when it is asked for."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from madkit.errors import ConfigError

#: How a file begins that stands for one that Git LFS has not fetched.
_POINTER = b"version https://git-lfs"
#: Numbers that are held at once while norms are computed.
_CHUNK = 1 << 24


class WeightFile:
    """The tensors of a file, by name. Neither kind of file can hold code, and nothing else is read.

    Args:
        path: ``.safetensors`` or ``.npz``.

    Raises:
        ConfigError: it is damaged, or no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            if path.stat().st_size < 1024 and path.read_bytes().startswith(_POINTER):
                raise ConfigError(f"{str(path)!r} is a pointer of Git LFS: fetch the file itself (`git lfs pull`)")
            with self._opened() as file:
                self.names = list(file.keys())

    def read(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """One tensor, in memory of its own.

        Args:
            name: its name.
            shape: what its shape must be; None for any matrix.

        Raises:
            ConfigError: it is missing, damaged, of another shape, or not of floating-point numbers.
        """
        self._require(name)
        with self._explained(), self._opened() as file:
            tensor = torch.from_numpy(np.array(file[name])) if self._is_npz else file.get_tensor(name).clone()
        if not tensor.is_floating_point() or (tensor.ndim != 2 if shape is None else tuple(tensor.shape) != shape):
            wanted = "a matrix" if shape is None else f"shape {shape}"
            raise ConfigError(
                f"{str(self.path)!r}: {name!r} has shape {tuple(tensor.shape)} and type {tensor.dtype}, and must have "
                f"{wanted} and floating-point numbers; take another copy of it"
            )
        return tensor

    def norms(self, name: str, dim: int) -> Tensor:
        """Lengths (m,) of the rows or columns of a matrix, float32, without reading it as a whole.

        Args:
            name: a matrix of a safetensors file.
            dim: 0 for the lengths of columns, 1 for those of rows.
        """
        self._require(name)
        with self._explained(), self._opened() as file:
            matrix = file.get_slice(name)
            rows, columns = matrix.get_shape()
            step = max(1, _CHUNK // columns)
            parts = [matrix[i : i + step].double().square().sum(dim) for i in range(0, rows, step)]
        squares = torch.cat(parts) if dim == 1 else torch.stack(parts).sum(0)
        return squares.sqrt().float()

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise ConfigError(f"{str(self.path)!r} has no tensor {name!r}; it has {', '.join(self.names[:8])}")

    @property
    def _is_npz(self) -> bool:
        return self.path.suffix == ".npz"

    def _opened(self) -> Any:
        if self._is_npz:
            return np.load(self.path, allow_pickle=False)
        return safe_open(self.path, framework="pt")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"{str(self.path)!r} cannot be read ({reason}); take another copy of it") from error
