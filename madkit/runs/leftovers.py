"""What killed processes have left half-written, and how it is told from what others are writing now."""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
import time
from pathlib import Path

_PARTIAL = re.compile(r"\..+?\.(?:(?P<host>[^.@]*)@)?(?P<pid>\d+)\.partial")
#: What another host is said to be writing counts as left behind when it has not been touched for this many seconds.
_PATIENCE = 24 * 3600.0


def host() -> str:
    """This machine's name, up to the first dot."""
    return socket.gethostname().partition(".")[0]


def partial_name(name: str) -> str:
    """The name under which this process writes what will be called ``name``.

    Long names, which a file system would not take with more letters, are cut.
    """
    return f".{name[:150]}.{host()}@{os.getpid()}.partial"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what processes that are no longer there have left half-written.

    Call it before this process writes anything below the folder.

    Args:
        folder: where to look.
        name: only what was to become the file or folder of this name in it; None for all, at any depth.
    """
    if name is not None:
        for path in folder.glob(f".{glob.escape(name[:150])}.*.partial"):
            _remove_left_behind(path)
        return
    for parent, folders, files in os.walk(folder):
        for each in [*folders, *files]:
            if each.endswith(".partial"):
                _remove_left_behind(Path(parent) / each)
        folders[:] = [each for each in folders if not each.endswith(".partial")]


def _remove_left_behind(path: Path) -> None:
    if not _is_left_behind(path):
        return
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_left_behind(path: Path) -> bool:
    found = _PARTIAL.fullmatch(path.name)
    if found is None:
        return False
    pid = int(found["pid"])
    if found["host"] in (None, host()):
        return pid == os.getpid() or not is_alive(pid)
    try:
        return time.time() - path.stat().st_mtime > _PATIENCE
    except OSError:
        return False
