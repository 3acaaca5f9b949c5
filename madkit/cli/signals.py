"""What SIGTERM and Ctrl-C do: they end a command in order, within seconds. So does SIGUSR1 in a job of Slurm's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from madkit.cli.slurm import is_task, requeue

#: Seconds that a command has to end in order, before it is ended.
_GRACE = 10.0
_MESSAGE = "madkit: interrupted; the same command continues"
_QUEUED = "madkit: interrupted; its job is queued again, and continues"
_ENDING = {signal.SIGTERM, signal.SIGINT}


class Interrupted(BaseException):
    """A signal asked the command to end. No `KeyboardInterrupt`, at which Lightning exits with a status of its own.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status that a shell would give: 143 after SIGTERM, 130 after Ctrl-C, 138 after SIGUSR1."""
        return 128 + self.signum


@contextmanager
def interruptible() -> Iterator[None]:
    """A context in which SIGTERM and SIGINT raise `Interrupted` where the program is.

    In a task of Slurm's SIGUSR1 does so too, by which a job can be told that its time is about to be over. Lightning
    would write a checkpoint of whatever it is doing, which later runs in the folder would load, whatever their recipe.

    That may be anywhere, because whatever is written is whole or not there. Should the program not come to an end, as
    in a computation that waits for another process, it is ended after a while.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A command in the background of a script is started with Ctrl-C ignored, and stays so.
    signals = [s for s in ending_signals() if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, _raise) for s in signals}
    watchdog = _Watchdog()
    _watchdogs.append(watchdog)
    try:
        yield
    finally:
        _watchdogs.remove(watchdog)
        watchdog.stop()
        for s, handler in before.items():
            signal.signal(s, handler)


def say_interrupted(signum: int) -> None:
    """The line that tells the user that nothing is lost; only the first of several processes says it.

    Args:
        signum: the signal; after SIGUSR1 the job is queued again first.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0":
        queued = signum == signal.SIGUSR1 and requeue(os.environ)
        print(_QUEUED if queued else _MESSAGE, file=sys.stderr, flush=True)


def ending_signals() -> set[signal.Signals]:
    """The signals that end a command in order."""
    return _ENDING | ({signal.SIGUSR1} if is_task(os.environ) else set())


def _raise(signum: int, frame: Any) -> None:
    for s in ending_signals():
        signal.signal(s, signal.SIG_IGN)  # once is enough, and what cleans up is left to do so
    raise Interrupted(signum)


class _Watchdog:
    """Ends the process some time after a signal, whatever its main thread is doing."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="madkit-signals", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while received := os.read(self._read, 1):
            if received[0] not in ending_signals():
                continue
            if not self._stopped.wait(_GRACE):
                say_interrupted(received[0])
                for child in multiprocessing.active_children():
                    child.kill()
                os._exit(128 + received[0])
            return

    def stop(self) -> None:
        self._stopped.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)


_watchdogs: list[_Watchdog] = []


def _before_fork() -> None:
    """A signal that comes while a process is forked waits until it is clear whose it is."""
    if _watchdogs:
        signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())


def _in_parent() -> None:
    if _watchdogs:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())


def _in_child() -> None:
    """What is forked, such as a worker that draws or loads data, ends when its parent says so."""
    if _watchdogs:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for s in ending_signals() - {signal.SIGTERM}:
            signal.signal(s, signal.SIG_IGN)
        _watchdogs.clear()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
