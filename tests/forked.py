"""Processes that begin as copies of this one, for what has to be one of two, or killed: none imports all again."""

import contextlib
import importlib.util
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import pytest
import torch

from madkit.cli.command import main

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
#: A process that has used a GPU cannot be copied.
CAN_FORK = hasattr(os, "fork") and not torch.cuda.is_available()


class _Copy:
    """A copy of this process that runs a function, in a session of its own, and ends with the status it returns."""

    def __init__(self, function, log, environment):
        self.pid, self.status = os.fork(), None
        if self.pid == 0:
            status = 70
            try:
                status = _become(function, log, environment)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def poll(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def kill(self):
        """With everything it has started."""
        os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)


def _become(function, log, environment):
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    if ranks := sys.modules.get("lightning_utilities.core.rank_zero"):  # it has read the environment of before
        ranks.rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))
    return function() or 0


def run_two(words, folder, options=TWO):
    """Run a stage in two processes, as Lightning starts them.

    Args:
        words: of the command, without those that ask for two processes.
        folder: where what they say is written.
        options: that ask for two processes.

    Returns:
        What the first process has said.
    """
    words = [*map(str, words), *options]
    return in_two(partial(main, words), folder) if CAN_FORK else run_launched(words)


def in_two(function, folder, limit=300):
    """Call a function in two processes, whose environment is that of a process group; what the first one has said.

    Both are killed, and the test fails, where they have not ended within `limit` seconds.
    """
    if not CAN_FORK:
        pytest.skip("a process that may have used a GPU cannot be copied")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    logs = [Path(folder) / f"process-{rank}.log" for rank in range(2)]
    copies = [
        _Copy(function, log, {**ENVIRONMENT, **both, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    deadline = time.monotonic() + limit
    while None in (statuses := [copy.poll() for copy in copies]):
        if any(statuses) or time.monotonic() > deadline:  # the other one would wait for it, or they wait for each other
            for copy, status in zip(copies, statuses, strict=True):
                if status is None:
                    copy.kill()
        time.sleep(0.01)
    assert statuses == [0, 0], "\n".join([f"ended with {statuses}", *(log.read_text()[-3000:] for log in logs)])
    return logs[0].read_text()


def in_copy(function, folder):
    """Call a function that uses no GPU in a copy of this process; what it has said."""
    log = Path(folder) / "copy.log"
    copy = _Copy(function, log, ENVIRONMENT)
    while (status := copy.poll()) is None:
        time.sleep(0.01)
    assert status == 0, log.read_text()[-3000:]
    return log.read_text()


def peak_memory():
    """The most memory that this process has had, in MB; a copy begins with what it shares with the original."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_launched(words):
    """Run a stage in a process that imports everything, and starts a second one where it needs one.

    Returns:
        What it has said.
    """
    line = [sys.executable, "-m", "madkit", *map(str, words)]
    done = subprocess.run(line, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def run_launching(words, folder):
    """Run a stage in a copy of this process that Lightning takes for `python -m madkit`, and starts a second one for.

    The copy imports nothing again, and the second process, which is none, everything.
    """
    words = [*map(str, words)]
    if CAN_FORK:
        in_copy(partial(_as_module, words), folder)
    else:
        run_launched(words)


def _as_module(words):
    """The status of the command, or of the first process started by it that failed."""
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("madkit.__main__")
    status, started = main(words), 0
    with contextlib.suppress(ChildProcessError):  # there is no other one any more
        while True:
            _, ended = os.wait()
            started = started or os.waitstatus_to_exitcode(ended)
    return status or started


def kill_when(condition, words, folder, timeout=120):
    """Start a stage and kill it, with everything it started, as soon as the condition holds."""
    words, log = [*map(str, words)], Path(folder) / "killed.log"
    process = _Copy(partial(main, words), log, ENVIRONMENT) if CAN_FORK else _Launched(words, log)
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, f"the stage ended before it could be killed: {log.read_text()[-3000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()


class _Launched(subprocess.Popen):
    """The same of a process that imports everything itself."""

    def __init__(self, words, log):
        with log.open("w") as said:
            line, environment = [sys.executable, "-m", "madkit", *words], {**os.environ, **ENVIRONMENT}
            super().__init__(line, env=environment, start_new_session=True, stdout=said, stderr=said)

    def kill(self):
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()
