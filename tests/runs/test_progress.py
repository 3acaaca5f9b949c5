"""Progress of long computations: lines in a log, and silence on all processes but one."""

import pytest

from madkit.runs import progress


@pytest.fixture
def clock(monkeypatch):
    """Three seconds pass with every look at the clock."""
    seconds = iter(range(0, 3000, 3))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    monkeypatch.setenv("MADKIT_PROGRESS", "lines")


def test_a_log_has_a_line_every_few_seconds(clock, capsys):
    assert list(progress.progress("abcdef", "sly-0 on x")) == list("abcdef")
    # After 6, 12 and 18 seconds, two items each.
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"[sly-0 on x] {done}/6  0:{left:02d} left" for done, left in ((1, 30), (3, 12), (5, 3))]


def test_nothing_is_printed_unless_it_is_to_be_shown(clock, capsys):
    assert list(progress.progress([1, 2, 3], "sly-0", shown=False)) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_the_last_step_and_unknown_totals(clock, capsys):
    line = progress.ProgressLine(every=100)
    line.show("fit", 1, 3)
    line.show("fit", 2, float("inf"), "  loss 0.5", force=True)
    line.show("fit", 3, 3)
    assert capsys.readouterr().err.splitlines() == ["[fit] 2/?  loss 0.5", "[fit] 3/3"]
