"""The badges of the README say what is so, in the files and in the words that stand for them."""

import importlib.util
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
SHOWN = dict(re.findall(r"!\[([^]]+)\]\(docs/badges/(\w+)\.svg\)", (ROOT / "README.md").read_text()))
SHOWN = {name: words for words, name in SHOWN.items()}
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def drawn_of(name):
    """The texts of a badge's two fields."""
    root = ElementTree.parse(ROOT / "docs" / "badges" / f"{name}.svg").getroot()
    return [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_files_are_what_their_script_draws():
    spec = importlib.util.spec_from_file_location("docs_badges", ROOT / "docs" / "badges.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0
    assert {f"{name}.svg" for name in SHOWN} == set(module.badges())


def test_pythons_are_those_that_the_package_names():
    named = [line.split()[-1] for line in SETTINGS["project"]["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert named and named[0] == SETTINGS["project"]["requires-python"].removeprefix(">=")
    assert drawn_of("python") == ["Python", " | ".join(named)]
    assert SHOWN["python"] == f"Python: {', '.join(named)}"


def test_the_licence_is_that_of_the_file():
    assert drawn_of("licence")[1] == SETTINGS["project"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License") and SHOWN["licence"] == "Licence: MIT"


def test_types_and_style_are_checked_before_each_commit():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    for name, tool in (("types", "mypy"), ("style", "ruff")):
        assert drawn_of(name)[1].lower() == tool and SHOWN[name].lower().endswith(tool)
        assert tool in SETTINGS["tool"] and f"/{tool}" in hooks
    assert SETTINGS["tool"]["mypy"]["disallow_untyped_defs"]
