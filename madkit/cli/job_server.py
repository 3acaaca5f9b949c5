"""Jobs of a study as copies of one process, which has imported what they all need: a start-up takes 5 s of CPU."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess

#: A job copies a process without threads, on Linux alone: on macOS, system libraries are not made for it.
WORKS_HERE = sys.platform == "linux"


@dataclass(frozen=True)
class CopiedJob:
    """A job that runs in a copy, with the methods of a `subprocess.Popen`."""

    process: ForkServerProcess

    def poll(self) -> int | None:
        """Its exit status, as that of a `subprocess.Popen`; None while it runs."""
        return self.process.exitcode

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.process.exitcode is None and self.process.pid is not None:
            os.kill(self.process.pid, sig)

    def wait(self) -> int:
        """Wait for its end: its exit status."""
        self.process.join()
        return self.process.exitcode or 0


class JobServer:
    """Starts jobs; the process that they are copies of begins with the first.

    Args:
        environment: variables of that process, beside those of this one, which count more.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._context: ForkServerContext | None = None

    def __call__(self, words: Sequence[str]) -> CopiedJob:
        """Start a job.

        Args:
            words: the command line after ``madkit``.
        """
        if self._context is None:
            for name, value in self._environment.items():
                os.environ.setdefault(name, value)
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["madkit.cli.preloaded"])
        process = self._context.Process(target=_be, args=(list(words),))
        process.start()
        return CopiedJob(process)


def _be(words: list[str]) -> None:
    """Be ``python -m madkit``, and end as a process of its own would."""
    sys.argv = ["madkit", *words]
    try:
        runpy.run_module("madkit", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # which `multiprocessing` leaves out
