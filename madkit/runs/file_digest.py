"""SHA-256 of files, each read once as long as it stays the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

_CHUNK = 1 << 24


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content.

    A file of the hub's cache is a link to a blob named by its own SHA-256, so its name is taken instead of
    reading tens of gigabytes.
    """
    resolved = path.resolve()
    if path.is_symlink() and resolved.parent.name == "blobs" and len(resolved.name) == 64:
        return resolved.name
    found = resolved.stat()
    return _digest(resolved, found.st_ino, found.st_size, found.st_mtime_ns)


def folder_digests(folder: Path, counts: Callable[[Path], bool]) -> dict[str, str]:
    """SHA-256 of each file of a folder that counts, at any depth, by its path in there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and counts(path))
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def folder_contents(folder: Path) -> list[tuple[str, str]]:
    """The path in a folder, and the digest, of every file of it that is not hidden."""
    return list(folder_digests(folder, lambda path: path.name[0] != ".").items())


@lru_cache(maxsize=4096)
def _digest(path: Path, *stamp: int) -> str:
    """The digest of a file with this inode, size and time of change."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
