"""JobRunner: runs the jobs of a study that are due, several side by side."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from madkit.errors import ConfigError
from madkit.study.study_job import StudyJob

#: One thread each, side by side, is faster than one stage with many: neither start-up nor small matrices use several
#: cores. Several bars of progress would overwrite one another.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MADKIT_PROGRESS": "lines", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
_PAUSE = 0.05


class RunningJob(Protocol):
    """A job that runs in another process, as a `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Its exit status, minus the number of the signal that ended it; None while it runs."""

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal, unless it has ended."""

    def wait(self) -> int:
        """Wait for its end."""


class JobRunner:
    """Jobs in the order in which they are to begin, each as soon as those are through whose targets it needs.

    Args:
        jobs: each file is the target of one of them at most.
        launch: words before each command, such as those of a scheduler.
        side_by_side: how many run at the same time.
        start: starts a command (the words after ``madkit``) on this machine; in a process of its own by default.

    Raises:
        ConfigError: a file that is needed is not there, and no job makes it.
    """

    def __init__(
        self,
        jobs: Sequence[StudyJob],
        launch: Sequence[str] = (),
        side_by_side: int = 1,
        start: Callable[[Sequence[str]], RunningJob] | None = None,
    ) -> None:
        self._jobs = list(jobs)
        self._launch = list(launch)
        self._side_by_side = side_by_side
        self._start_here = start
        self._of = {job.target: job for job in jobs}
        missing = [path for job in jobs for path in job.needs if path not in self._of and not path.is_file()]
        if missing:
            raise ConfigError(f"{str(missing[0])!r} is needed and not there: take back the file, or name another model")

    def due(self) -> list[StudyJob]:
        """The jobs that `run` would run, as things are now."""
        due: dict[StudyJob, bool] = {}

        def decide(job: StudyJob) -> bool:
            if job not in due:
                before = [self._of[path] for path in (*job.after, *job.needs) if path in self._of]
                ran = [other for other in before if decide(other)]
                made = any(job.target in other.makes for other in ran)
                due[job] = not made and (job.is_due() or any(other.target in job.needs for other in ran))
            return due[job]

        return [job for job in self._jobs if decide(job)]

    def run(self) -> int:
        """Run them; after one that fails none begins any more.

        Returns:
            0, or the status of the first job that failed.
        """
        total, begun, status = len(self.due()), 0, 0
        waiting = list(self._jobs)
        running: dict[StudyJob, RunningJob] = {}
        try:
            while running or (waiting and not status):
                status = self._collect(running, waiting) or status
                while not status and len(running) < self._side_by_side:
                    job = next((job for job in waiting if self._may_begin(job, waiting, running)), None)
                    if job is None:
                        break
                    waiting.remove(job)
                    if job.is_due():
                        begun += 1
                        running[job] = self._start(job, f"{begun} of {max(begun, total)}")
                if running:
                    time.sleep(_PAUSE)
        except BaseException as error:  # a signal, most of all: it is theirs, too
            for process in running.values():
                process.send_signal(getattr(error, "signum", 15))
            for process in running.values():
                process.wait()
            raise
        return status

    def _may_begin(self, job: StudyJob, waiting: Sequence[StudyJob], running: dict[StudyJob, RunningJob]) -> bool:
        unfinished = {other.target for other in (*waiting, *running)}
        return unfinished.isdisjoint((*job.needs, *job.after))

    def _collect(self, running: dict[StudyJob, RunningJob], waiting: Sequence[StudyJob]) -> int:
        """Let go of what has ended; the status of the first that failed."""
        failed = 0
        for job, process in list(running.items()):
            if (status := process.poll()) is None:
                continue
            del running[job]
            if status == 0:
                job.finish()
                job.record()
                continue
            failed = failed or (status if status > 0 else 128 - status)
            left = f"; {len(waiting)} of {len(self._jobs)} parts have not begun" if waiting else ""
            print(
                f"[study] status {status} of: {line_of(job)}{left}; the same command continues",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        return failed

    def _start(self, job: StudyJob, place: str) -> RunningJob:
        print(f"[study: {place}] {line_of(job)}", file=sys.stderr, flush=True)
        if self._start_here is not None and job.launched and not self._launch:
            return self._start_here(job.listing())
        launch = self._launch if job.launched else []
        environment = {**ENVIRONMENT, **os.environ}
        try:
            return subprocess.Popen([*launch, sys.executable, "-m", "madkit", *job.listing()], env=environment)
        except OSError as error:
            raise ConfigError(
                f"launch={shlex.join(launch)!r} cannot be started ({error.strerror}); name a command of this machine"
            ) from error


def line_of(job: StudyJob) -> str:
    """The command of a job, as one would type it."""
    return shlex.join(["madkit", *job.listing()])
