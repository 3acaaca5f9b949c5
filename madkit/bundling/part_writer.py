"""PartWriter: one stream of bytes in numbered files of bounded size."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import override

from madkit.errors import ConfigError
from madkit.runs.atomic import complete, make_folder, unwritable
from madkit.runs.leftovers import partial_name


class BundlePart(NamedTuple):
    """A file that has been written."""

    name: str
    size: int
    sha256: str


class PartWriter(io.RawIOBase):
    """A file to write to, whose content goes into ``part-0000``, ``part-0001``, and so on.

    Each has its name when it is complete, and not before.

    Args:
        folder: where they are written.
        size: bytes of each part but the last.
        tell: called with each part as it is complete.
    """

    def __init__(self, folder: Path, size: int, tell: Callable[[BundlePart], None] = lambda part: None) -> None:
        self.folder = folder
        self.size = size
        self.tell_of = tell
        self.parts: list[BundlePart] = []
        self._file: Any = None
        self._left = size
        self._digest = hashlib.sha256()

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        while left:
            if self._file is None:
                self._file = self._partial.open("wb")
            piece, left = left[: self._left], left[self._left :]
            self._file.write(piece)
            self._digest.update(piece)
            self._left -= len(piece)
            if self._left == 0:
                self._finish()
        return memoryview(data).nbytes

    @override
    def close(self) -> None:
        if self._file is not None:
            self._finish()
        super().close()

    @property
    def _path(self) -> Path:
        return self.folder / f"part-{len(self.parts):04d}"

    @property
    def _partial(self) -> Path:
        return self._path.with_name(partial_name(self._path.name))

    def _finish(self) -> None:
        self._file.close()
        part = BundlePart(self._path.name, self.size - self._left, self._digest.hexdigest())
        complete(self._partial, self._path)
        self.parts.append(part)
        self.tell_of(part)
        self._file, self._left, self._digest = None, self.size, hashlib.sha256()


def write_parts(
    files: Mapping[str, Path], folder: Path, size: int, tell: Callable[[BundlePart], None] = lambda part: None
) -> list[BundlePart]:
    """Write files as one archive (tar), cut into parts; equal files give equal parts.

    Args:
        files: by their name in the archive.
        folder: where the parts are written.
        size: bytes of each part but the last.
        tell: called with each part as it is complete.

    Raises:
        ConfigError: a file cannot be read.
        StoreError: the disk is full, or the like.
    """
    make_folder(folder)
    writer = PartWriter(folder, size, tell)
    try:
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as archive:
            for name, path in sorted(files.items()):
                information = tarfile.TarInfo(name)
                information.size, information.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    archive.addfile(information, file)
        writer.close()
    except OSError as error:
        if explained := unwritable(folder, error):
            raise explained from error
        raise ConfigError(f"{error.filename or folder} cannot be bundled ({error.strerror or error})") from error
    return writer.parts
