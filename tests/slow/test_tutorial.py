"""The notebook runs from beginning to end, and prints what the tutorial shows."""

import importlib.util
import re
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "docs" / "tutorial.py"
spec = importlib.util.spec_from_file_location("docs_tutorial", PATH)
tutorial = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorial)
_NUMBER = re.compile(r"-?\d+\.\d+")


def test_every_step_prints_what_the_page_shows(tmp_path, monkeypatch):
    """Numbers may differ in their last digits on another processor, which a training carries on."""
    monkeypatch.setenv("MADKIT_PROGRESS", "lines")
    found = tutorial.cells()
    outputs, picture = tutorial.run(found, tmp_path)
    text, shown = tutorial.page(found, outputs), tutorial.PAGE.read_text()
    assert picture.startswith(b"\x89PNG")
    # The table of detectors is in the order of its numbers.
    kept = [sorted(_NUMBER.sub("#", page).split()) for page in (text, shown)]
    assert kept[0] == kept[1]
    numbers = [sorted(map(float, _NUMBER.findall(page))) for page in (text, shown)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.1, rel=0.1)
