"""One process at a time, and the other one is told which."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from madkit.errors import StoreError
from madkit.runs.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from madkit.runs.lock import locked
with locked(Path(sys.argv[1]), "madkit predict"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_and_the_lock_of_a_killed_one_is_free(holder, tmp_path):
    path = tmp_path / ".lock"
    with (
        pytest.raises(StoreError, match=rf"in use: `madkit predict`, process {holder.pid} on .*wait until"),
        locked(path, "madkit test"),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with locked(path, "madkit test"), locked(path, "the same process"):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


def test_waiting_ends_when_the_other_is_done(holder, tmp_path):
    holder.stdin.write("\n")
    holder.stdin.flush()
    with locked(tmp_path / ".lock", "madkit test", wait=True):
        assert holder.wait(10) == 0


def test_where_there_are_no_locks_the_file_counts_while_its_process_is_alive(holder, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(StoreError, match="in use"), locked(tmp_path / ".lock", "madkit test"):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path / ".lock", "madkit test"):
        pass
