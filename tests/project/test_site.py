"""The site's source: links of pages lead to pages, also those to code and folders, and the index is the navigation."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    import linked_pages

    sys.path.remove(str(ROOT / "docs" / "site"))
    return linked_pages


def test_what_is_linked_to_is_copied_and_shown(pages, tmp_path):
    root, source = tmp_path / "root", tmp_path / "source"
    (root / "docs").mkdir(parents=True)
    (root / "more").mkdir()
    (root / "README.md").write_text(
        "[a](docs/a.md#top) [more](more/) [web](https://x.org/y.py) [lost](no.md)\n```\n[b](docs/b.py)\n```\n"
    )
    (root / "docs" / "a.md").write_text("![p](p.png) [c](../code.py) [up](../README.md)")
    (root / "docs" / "p.png").write_bytes(b"picture")
    (root / "docs" / "b.py").write_text("never = 'linked'")
    (root / "code.py").write_text("x = 1\n")
    (root / "more" / "README.md").write_text("more")
    assert pages.copy_linked(root, ["README.md"], source) == ["README.md", "docs/a.md", "more/README.md", "code.py.md"]
    assert (source / "README.md").read_text() == (
        "[a](docs/a.md#top) [more](more/README.md) [web](https://x.org/y.py) [lost](no.md)\n```\n[b](docs/b.py)\n```\n"
    )
    assert (source / "docs" / "a.md").read_text() == "![p](p.png) [c](../code.py.md) [up](../README.md)"
    assert "````python\nx = 1\n````" in (source / "code.py.md").read_text()
    assert (source / "docs" / "p.png").read_bytes() == b"picture" and not (source / "docs" / "b.py.md").exists()


def test_every_page_of_the_documentation_is_reached(pages, tmp_path):
    reached = pages.copy_linked(ROOT, ["README.md"], tmp_path)
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(reached)
    assert {"recipes/README.md", "examples/my_detector.py.md", "CONTRIBUTING.md"} <= set(reached)
