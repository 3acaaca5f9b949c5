"""Write files so that a reader never sees half of one, whatever happens to the process, the disk or the machine."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from madkit.errors import StoreError
from madkit.runs.leftovers import partial_name

#: What a file system says that somebody has to mend before any file can be written, and the way out of it.
_WAYS_OUT = {
    errno.ENOSPC: "make room there, and the same command continues",
    errno.EDQUOT: "make room there, and the same command continues",
    errno.EFBIG: "raise the limit on the size of files, and the same command continues",
    errno.EROFS: "name another folder, or mount it for writing",
    errno.EACCES: "name another folder, or give yourself the right to write there",
    errno.EPERM: "name another folder, or give yourself the right to write there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a file stands where a folder should be: name another folder, or remove the file",
    errno.EEXIST: "a file stands where a folder should be: name another folder, or remove the file",
    errno.EISDIR: "a folder stands where a file should be: remove it",
    errno.ENOENT: "no folder can be made there: name another one",
    errno.EIO: "the disk or the network drive is failing: name another folder",
}


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Let ``write`` make a file or folder under a temporary name beside ``path``, then rename it to that.

    Everything that madkit writes goes through here: on one file system, on the disk before it has its name, and with
    the permissions that the umask leaves. The host and the process' id are part of the temporary name, so two processes
    never write into one another's file, and what a killed one has left is known for what it is.

    Raises:
        StoreError: the disk is full, the folder is read-only, or the like.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomically(folder / "a.txt", lambda p: p.write_text("all of it")).read_text()
        'all of it'
        >>> [p.name for p in folder.iterdir()]
        ['a.txt']
    """
    temporary = path.with_name(partial_name(path.name))
    try:
        make_folder(path.parent)
        remove(temporary)
        write(temporary)
        complete(temporary, path)
    except Exception as error:
        if explained := unwritable(path, error):
            raise explained from error
        raise
    finally:
        _try_to_remove(temporary)
    return path


def complete(temporary: Path, path: Path) -> Path:
    """Give a file or folder that is complete its name, once all of it is on the disk.

    Raises:
        StoreError: the disk is full, the folder is read-only, or the like.
    """
    # Inside of what is itself not complete, that waits until it is.
    later = any(parent.name.endswith(".partial") for parent in path.parents)
    try:
        if not later:
            _settle(temporary)
        _rename(temporary, path)
        if not later:
            _sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) or error from error
    return path


def unwritable(path: Path, error: Exception) -> StoreError | None:
    """What a user has to know of an error in writing a file or folder; None if the file system is not to blame.

    Args:
        path: what was to be written.
        error: what was raised, by the file system or by a library that was told by it.
    """
    if isinstance(error, OSError) and isinstance(error.filename, str) and _is_elsewhere(error.filename, path):
        return None  # something that was to be read
    number = _error_number(error)
    if number not in _WAYS_OUT:
        return None
    return StoreError(f"{str(path)!r} cannot be written ({os.strerror(number)}): {_WAYS_OUT[number]}")


def _is_elsewhere(name: str, path: Path) -> bool:
    """Whether a file is neither the one that is written, nor a part of it, nor a folder above it."""
    other = Path(name).absolute()
    return path.absolute().parent not in other.parents and other not in path.absolute().parents


def write_json(path: Path, value: Any) -> Path:
    """Write a plain value as JSON."""
    return write_atomically(path, lambda p: p.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n"))


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) or error from error


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path) -> None:
    """Give what is complete its name. A folder with that name makes room in one step, so none is seen half removed."""
    if not path.is_dir():
        temporary.replace(path)
        return
    old = path.with_name(partial_name(f"{path.name}.old"))
    try:
        path.replace(old)
        temporary.replace(path)
    finally:
        _try_to_remove(old)


def _settle(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk, readable to whom the umask lets."""
    mask = _umask()
    if not path.is_dir():
        path.chmod(0o666 & ~mask)
        _sync(path)
        return
    for name, _, files in os.walk(path):
        folder = Path(name)
        for file in (folder / name for name in files):
            file.chmod(0o666 & ~mask)
            _sync(file)
        folder.chmod(0o777 & ~mask)
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some file systems cannot, of folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    try:  # setting it, as `os.umask` does, would show in other threads
        found = re.search(r"^Umask:\s*([0-7]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found.group(1), 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _error_number(error: BaseException | None) -> int | None:
    """What the file system answered, which libraries wrap in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _WAYS_OUT:
            return error.errno
        if found := re.search(r"os error (\d+)", str(error)):  # as Rust words it
            return int(found.group(1))
        error = error.__cause__ or error.__context__
    return None


def _try_to_remove(path: Path) -> None:
    """Remove what is in the way, if that can be done; the next command tries again."""
    try:
        remove(path)
    except OSError:
        return
