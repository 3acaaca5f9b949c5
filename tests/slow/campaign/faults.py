"""What may happen to a process: killed at a moment, no room on the disk, no right to write, too little memory.

Each is a function that is called in the process before its work; moments are counted by Python's audit events, so that
nothing in madkit has to know.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Fault = Callable[[], None]


def kill_at_rename(pattern: str, *, after: bool = False, count: int = 1, sign: int = signal.SIGKILL) -> Fault:
    """A signal to itself where a file whose name holds `pattern` is put in its place for the `count`-th time.

    Args:
        pattern: a part of the new path.
        after: at the next event after it, and not before it.
        count: the how many-th such rename.
        sign: the signal.
    """

    def fault() -> None:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if after and seen == count:
                os.kill(os.getpid(), sign)
            if event == "os.rename" and pattern in str(arguments[1]):
                seen += 1
                if not after and seen == count:
                    os.kill(os.getpid(), sign)

        sys.addaudithook(hook)

    return fault


def kill_at_open(pattern: str, *, count: int = 1, sign: int = signal.SIGKILL) -> Fault:
    """A signal to itself where a file whose name holds `pattern` is opened for writing."""

    def fault() -> None:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event != "open" or not isinstance(arguments[1], str) or arguments[1][:1] not in "wax":
                return
            if pattern in str(arguments[0]):
                seen += 1
                if seen == count:
                    os.kill(os.getpid(), sign)

        sys.addaudithook(hook)

    return fault


def signal_after(seconds: float, sign: int) -> Fault:
    """A signal some time after the start."""

    def fault() -> None:
        parent = os.getpid()
        if os.fork() == 0:
            import time

            time.sleep(seconds)
            if os.getppid() == parent:
                os.kill(parent, sign)
            os._exit(0)

    return fault


def largest_file(size: int) -> Fault:
    """No file may grow beyond so many bytes, as where a disk or a quota is full."""

    def fault() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return fault


def no_room_for(pattern: str, code: int = errno.ENOSPC) -> Fault:
    """Opening a file whose path holds `pattern` for writing fails, as on a full or a read-only disk."""

    def fault() -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and pattern in str(arguments[0]):
                mode, flags = arguments[1], arguments[2]
                writes = mode[:1] in "wax" if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
                if writes:
                    raise OSError(code, os.strerror(code), str(arguments[0]))

        sys.addaudithook(hook)

    return fault


def memory(size: int) -> Fault:
    """At most so many bytes more than the process has."""

    def fault() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + size, used + size))

    return fault


def without_root() -> None:
    """As root: the right to write what file modes forbid is given up, as if this were any user who owns the files."""
    if os.geteuid() != 0:
        return
    # linux/capability.h, version 3: CAP_DAC_OVERRIDE is 1, CAP_DAC_READ_SEARCH 2.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    data[0] &= ~0b110
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def environment(**variables: str) -> Fault:
    """Variables of the environment."""
    return lambda: os.environ.update(variables)
