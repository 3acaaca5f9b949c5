"""SIGTERM and Ctrl-C end a command where it is, with the status that a shell expects."""

import os
import signal
import threading
import time

import pytest

from madkit.cli import signals
from madkit.cli.signals import Interrupted, interruptible


@pytest.fixture
def handled():
    """A function that has a signal end this process; in the background of a script, tests inherit Ctrl-C as ignored."""
    kept = {}

    def default(number):
        kept[number] = signal.signal(number, signal.SIG_DFL)

    yield default
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_raises_where_the_program_is_and_handlers_come_back(number, status, handled):
    handled(number)
    before = signal.getsignal(number)
    started = time.monotonic()
    with pytest.raises(Interrupted) as caught, interruptible():
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        time.sleep(5)
    assert caught.value.status == status
    assert time.monotonic() - started < 2
    assert signal.getsignal(number) is before


def test_a_command_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(signals, "_GRACE", 0.2)
    pid = os.fork()
    if pid == 0:
        with interruptible():
            while True:  # as what catches everything and goes on
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(1)
                except BaseException:
                    continue
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143


def test_what_is_forked_ends_when_it_is_told(monkeypatch):
    with interruptible():
        pid = os.fork()
        if pid == 0:
            time.sleep(10)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        time.sleep(0.1)  # and this process is not told
