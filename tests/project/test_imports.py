"""Imports run one way, and only the front door is lazy."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_only_the_front_door_is_lazy():
    lazy = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "madkit").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
    ]
    assert lazy == ["madkit/__init__.py"]


def test_no_two_classes_share_a_name():
    seen: dict[str, list[str]] = {}
    for path in (ROOT / "madkit").rglob("*.py"):
        if path.relative_to(ROOT / "madkit").parts[0] == "sklearn":  # whose classes no recipe names
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert not {name: paths for name, paths in seen.items() if len(paths) > 1}
