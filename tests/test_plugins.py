"""Code of other people's: entry points of installed packages, and files that a user names."""

import sys
from pathlib import Path

import pytest

from madkit.errors import ConfigError
from madkit.plugins import import_source, load_entry_points

GROUP = "madkit.tests"


@pytest.fixture(autouse=True)
def modules_as_before(monkeypatch: pytest.MonkeyPatch):
    """Modules and folders of one test are not there for the next."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(folder: Path, package: str, entries: dict[str, str], code: str) -> None:
    """A distribution as pip leaves it in a folder of the path: a module, and metadata with entry points."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(code)
    metadata = folder / f"{package}-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_entry_points_are_imported_in_the_order_of_their_names(tmp_path: Path) -> None:
    install(tmp_path, "later_package", {"z": "later_package"}, "VALUE = 1\n")
    install(tmp_path, "first_package", {"a": "first_package:VALUE"}, "VALUE = 2\n")
    sys.path.insert(0, str(tmp_path))
    value, module = load_entry_points(GROUP)
    assert value == 2 and module.__name__ == "later_package" and module.VALUE == 1
    assert load_entry_points("madkit.nothing") == []


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ("broken", "import a_module_that_nobody_has\n", "a_module_that_nobody_has"),
        ("broken:missing", "", "AttributeError"),
        ("broken", "1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_broken_package_is_named_in_one_line(tmp_path: Path, value: str, code: str, words: str) -> None:
    install(tmp_path, "broken", {"my_plugin": value}, code)
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        load_entry_points(GROUP)
    message = str(caught.value)
    assert "'my_plugin'" in message and "broken 1.5" in message and words in message and "\n" not in message


def test_a_file_and_its_neighbours_are_imported(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 3\n")
    (tmp_path / "json.py").write_text("from neighbour import VALUE\n")
    assert import_source(tmp_path / "json.py").VALUE == 3
    import json

    assert json.loads("1") == 1  # a file takes no other module's name


def test_a_module_of_the_current_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "part.py").write_text("VALUE = 4\n")
    monkeypatch.chdir(tmp_path)
    assert import_source("my_package.part").VALUE == 4


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nowhere.py", None, "no such file"),
        ("folder/nowhere.py", None, "no such file"),
        ("no_such_module", None, "No module named"),
        ("mine.py", "x = 1\nraise KeyError('y')\n", "mine.py, line 2: KeyError: 'y'"),
        ("mine.py", "def f(:\n", "SyntaxError"),
    ],
)
def test_a_source_that_cannot_be_imported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if code is not None:
        (tmp_path / name).write_text(code)
    with pytest.raises(ConfigError) as caught:
        import_source(name)
    assert words in str(caught.value) and name.split("/")[-1] in str(caught.value) and "\n" not in str(caught.value)
