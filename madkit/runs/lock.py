"""One process at a time: a file that says who is at work, and that is free again when its process is gone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from madkit.errors import StoreError
from madkit.runs.atomic import make_folder, unwritable
from madkit.runs.leftovers import host, is_alive

#: What a file system answers that knows no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_held: set[Path] = set()


@contextmanager
def locked(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file as long as the context lasts; nested contexts of one process hold it once.

    The lock is the operating system's (POSIX, which network file systems have too), so that of a killed process is free
    at once. Where there are none, the file counts as held while its process is alive.

    Args:
        path: the file, which is removed at the end.
        what: what is done meanwhile, for the message to others.
        wait: wait for who holds it, rather than refuse.

    Raises:
        StoreError: another process holds it, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / ".lock"
        >>> with locked(path, "an example"):
        ...     path.exists()
        True
        >>> path.exists()
        False
    """
    path = path.absolute()
    if path in _held:
        yield
        return
    make_folder(path.parent)
    while (file := _take(path, what)) is None:
        if not wait:
            raise StoreError(_busy(path))
        time.sleep(0.1)
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        with suppress(OSError):
            path.unlink(missing_ok=True)  # before it is free, so that nobody takes a file that is about to go
        os.close(file)


def _take(path: Path, what: str) -> int | None:
    """The open lock file, or None if another process holds it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(path, error) or error from error
    held = False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_same(file, path):  # who held it has removed it in the meantime
            os.close(file)
            return _take(path, what)
    except OSError as error:
        held = error.errno not in _NO_LOCKS or _says_held(path)
    if held:
        os.close(file)
        return None
    try:
        os.ftruncate(file, 0)
        content = {"pid": os.getpid(), "host": host(), "what": what, "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.pwrite(file, json.dumps(content).encode(), 0)
    except OSError as error:
        os.close(file)
        raise unwritable(path, error) or error from error
    return file


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _says_held(path: Path) -> bool:
    holder = _holder(path)
    return bool(holder) and (holder.get("host") != host() or is_alive(int(holder.get("pid", 0))))


def _busy(path: Path) -> str:
    holder = _holder(path)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return (
        f"{str(path.parent)!r} is in use: `{holder.get('what', 'madkit')}`, {who}, since {holder.get('since', '?')}; "
        f"wait until it is done (or, if it is no longer running there, delete {str(path)!r})"
    )
