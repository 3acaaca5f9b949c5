"""Run a function in a forked process of its own: what took seconds to import is there already.

The parent imports everything and computes nothing, so that it has one thread, as a fork asks for; whatever computes,
what prepares a case included, does so in a child.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """How a process ended."""

    code: int | None
    """The exit status, negative for a signal; None where it had to be ended because it took too long."""
    out: str
    """What it wrote to standard output."""
    err: str
    """What it wrote to standard error."""
    seconds: float


class Fork:
    """A function that runs in a child process.

    Args:
        function: returns an exit status, or None for 0.
        logs: the folder for what it prints.
        cwd: the folder that it runs in.
        limit: seconds until it is ended, with all processes that it started.
        faults: functions that are called first, in the child, such as `kill_at_rename`.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        *,
        logs: Path,
        cwd: Path,
        limit: float = 60.0,
        faults: Sequence[Callable[[], None]] = (),
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._out, self._err = logs / "out.txt", logs / "err.txt"
        self._started, self._limit = time.monotonic(), limit
        self._ended: Ended | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_a_child(function, self._out, self._err, cwd, faults)

    def poll(self) -> Ended | None:
        """How it ended, None while it runs."""
        if self._ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            seconds = time.monotonic() - self._started
            if pid:
                self._end(os.waitstatus_to_exitcode(status), seconds)
            elif seconds > self._limit:
                self._kill_all()
                os.waitpid(self.pid, 0)
                self._end(None, seconds)
        return self._ended

    def wait(self) -> Ended:
        """Wait for its end."""
        while (ended := self.poll()) is None:
            time.sleep(0.01)
        return ended

    def _end(self, code: int | None, seconds: float) -> None:
        self._kill_all()  # what it started and left behind
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in (self._out, self._err)]
        self._ended = Ended(code, *texts, seconds)

    def _kill_all(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def run_forked(function: Callable[[], Any], **options: Any) -> Ended:
    """Run a function in a child process to its end; the options are those of `Fork`."""
    return Fork(function, **options).wait()


def madkit(*words: str | Path) -> Callable[[], int]:
    """The function of a command line: what the installed command would do with these words."""

    def command() -> int:
        from madkit.cli.command import main

        # Where Lightning starts more processes, they repeat this command line.
        sys.argv = [str(Path(sys.modules["madkit"].__file__ or "").parent / "__main__.py"), *map(str, words)]
        return main([str(word) for word in words])

    return command


def _be_a_child(
    function: Callable[[], Any], out: Path, err: Path, cwd: Path, faults: Sequence[Callable[[], None]]
) -> None:
    """Never returns: ends as the interpreter does, with what is registered for its exit."""
    code: Any = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, path in ((0, None), (1, out), (2, err)):
            target = os.open(path or os.devnull, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(target, number)
            os.close(target)
        # Not the owners of these numbers: one that is dropped later would close what the next one writes to.
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        (cwd / "tmp").mkdir(parents=True, exist_ok=True)
        os.environ["TMPDIR"] = str(cwd / "tmp")
        tempfile.tempdir = None
        os.chdir(cwd)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for fault in faults:
            fault()
        code = function()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code if isinstance(code, int) else 0 if code is None else 1)
