"""Any other error is one line that says where its traceback is, and several processes say it once."""

import errno
import re
from pathlib import Path

import pytest

from madkit.cli import last_resort
from madkit.cli.command import main
from madkit.errors import StoreError


@pytest.fixture
def failing(monkeypatch):
    """A function that lets `madkit monitor` end by an error."""

    def end_by(error, cause=None):
        def fail(folder: str) -> int:
            raise error from cause

        monkeypatch.setattr("madkit.cli.commands.monitor.monitor", fail)

    return end_by


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_an_unknown_error_is_one_line_and_a_file(failing, capsys):
    failing(RuntimeError("two\nlines"))
    assert main(["monitor", "runs"]) == 1
    (line,) = lines(capsys)
    assert line.startswith("madkit: monitor ended by an error that madkit does not know, RuntimeError: two lines")
    file = Path(re.search(r"its traceback is in (\S+)", line).group(1))
    assert "in fail" in file.read_text() and "RuntimeError: two" in file.read_text()
    file.unlink()


def test_debug_shows_the_traceback(failing, capsys):
    failing(StoreError("it is damaged"))
    assert main(["monitor", "runs"]) == 2
    assert lines(capsys) == ["madkit: it is damaged"]
    assert main(["monitor", "runs", "--debug"]) == 2
    shown = lines(capsys)
    assert shown[0].startswith("Traceback") and shown[-1] == "madkit: it is damaged"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.parquet"), "a.parquet cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "runs/x cannot be written or read (Permission"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("PytorchStreamReader failed reading zip archive"), "a checkpoint cannot be read"),
    ],
)
def test_what_the_machine_refuses_has_a_way_out(failing, capsys, error, said):
    failing(error)
    assert main(["monitor", "runs"]) == 2
    (line,) = lines(capsys)
    assert said in line


def test_an_error_of_madkit_that_another_one_hides_is_what_is_said(failing, capsys):
    failing(ValueError("the parser's own words"), cause=StoreError("it is damaged"))
    assert main(["monitor", "runs"]) == 2
    assert lines(capsys) == ["madkit: it is damaged"]


def test_of_several_processes_the_first_speaks(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr(last_resort.tempfile, "gettempdir", lambda: str(tmp_path))
    last_resort.begin()
    assert last_resort.complain("first") == last_resort.complain("second") == 2
    assert lines(capsys) == ["madkit: first"]
