"""The page of scores is what the docstrings say, and these say what one has to know."""

import importlib.util
import sys
from pathlib import Path

import pytest

from madkit.scores import Score

PATH = Path(__file__).resolve().parents[2] / "docs" / "scores.py"
spec = importlib.util.spec_from_file_location("docs_of_scores", PATH)
docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs)


@pytest.mark.parametrize("cls", docs.public())
def test_every_score_says_what_one_has_to_know(cls):
    found = docs.paragraphs(cls)
    assert found[""].endswith(".")
    for label in ("Formula", "Source", "Blind to", "Use when"):
        assert len(found[label]) > 15, f"{cls.__name__} has no paragraph {label!r}"
    assert len(docs.options(cls)) == len(cls.options())
    assert f"](#{cls.__name__.lower()})" in docs.table()


def test_the_page_is_up_to_date(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["scores.py", "--check"])
    docs.main()
    monkeypatch.setattr(docs, "PAGE", tmp_path / "scores.md")
    with pytest.raises(SystemExit, match="scores.md is stale: run `python docs/scores.py`"):
        docs.main()
    monkeypatch.setattr(sys, "argv", ["scores.py"])
    docs.main()
    assert (tmp_path / "scores.md").read_text() == PATH.with_suffix(".md").read_text()


class Undocumented(Score):
    """Formula: x.

    Args:
        speed: of x.
    """

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = k


def test_a_score_without_documentation_is_named():
    with pytest.raises(SystemExit, match="Undocumented: the docstring has no paragraph 'Source'"):
        docs.section(Undocumented)
    with pytest.raises(SystemExit, match=r"Undocumented: the docstring has Args \['speed'\], not \['k'\]"):
        docs.options(Undocumented)
