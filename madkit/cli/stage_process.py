"""StageProcess: runs a stage in a process of its own, which begins with everything that this one has imported."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from madkit.cli.signals import Interrupted, ending_signals, say_interrupted


class StageProcess:
    """A context in which stages run one after another; a signal that comes meanwhile is passed on to the one that runs.

    A stage is a fork of this process where that is safe: on Linux (on macOS, system libraries are not made for it),
    while this is the only thread. Elsewhere it starts from nothing, and takes the same words.

    Args:
        main: runs one command line in this process and returns its status.
    """

    def __init__(self, main: Callable[[Sequence[str]], int]) -> None:
        self._main = main
        self._pid: int | None = None
        self._signum: int | None = None
        self._starting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StageProcess:
        if threading.current_thread() is threading.main_thread():
            # A command in the background of a script is started with Ctrl-C ignored, and stays so.
            signals = [s for s in ending_signals() if signal.getsignal(s) is not signal.SIG_IGN]
            self._before = {s: signal.signal(s, self._pass_on) for s in signals}
        return self

    def __exit__(self, *error: object) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)

    def run(self, words: Sequence[str]) -> int:
        """Run a stage.

        Args:
            words: the stage and its options.

        Returns:
            Its exit status, as a shell would give it; that of the signal where one came.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        self._starting = True
        try:
            alone = sys.platform == "linux" and threading.active_count() == 1
            self._pid, wait = self._fork(words) if alone else _spawn(words)
        finally:
            self._starting = False
        if self._signum is not None:  # it came before this process knew whom to tell
            self._tell(self._signum)
        status = wait()
        self._pid = None
        if self._signum is not None and status <= 0:  # the stage has not said so itself
            say_interrupted(self._signum)
            return 128 + self._signum
        return status if status >= 0 else 128 - status

    def _fork(self, words: Sequence[str]) -> tuple[int, Callable[[], int]]:
        gc.freeze()  # pages of memory that the collector does not write on stay shared
        pid = os.fork()
        if pid == 0:
            self._become(words)
        return pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _become(self, words: Sequence[str]) -> NoReturn:
        """Be a stage, and end as a process of its own would, whatever called this one."""
        status = 1
        try:
            self.__exit__()
            status = 128 + self._signum if self._signum is not None else self._main(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            threading._shutdown()  # type: ignore[attr-defined]  # as `multiprocessing` does in what it forks
            atexit._run_exitfuncs()
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _pass_on(self, signum: int, frame: object) -> None:
        self._signum = signum
        if self._pid is not None:
            self._tell(signum)
        elif not self._starting:
            raise Interrupted(signum)

    def _tell(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            if self._pid is not None:
                os.kill(self._pid, signum)


def _spawn(words: Sequence[str]) -> tuple[int, Callable[[], int]]:
    process = subprocess.Popen([sys.executable, "-m", "madkit", *words])
    return process.pid, process.wait
