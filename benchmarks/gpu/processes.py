"""Processes with a limit of time, ended with everything that they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

GRACE = 5.0  # seconds between asking a process to end and ending it


def run_limited(line: list[str], log: Path, seconds: float, environment: dict[str, str] | None = None) -> int | None:
    """Run a command whose output goes to a file.

    Args:
        line: the command.
        log: what it prints is written there.
        seconds: when it is ended, in order if it listens.
        environment: what is added to this process' own.

    Returns:
        Its exit status; None where it was ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as said:
        process = subprocess.Popen(
            line,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.returncode is None:
                _end(process)


def last_line(log: Path) -> str:
    """The last line of a file that says something."""
    lines = [" ".join(line.split()) for line in log.read_text(errors="replace").splitlines()] if log.is_file() else []
    return next((line[:200] for line in reversed(lines) if line), "")


def python(*words: str) -> list[str]:
    """The command line of a Python process."""
    return [sys.executable, "-u", *words]


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, sign)
            process.wait(wait)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            continue
