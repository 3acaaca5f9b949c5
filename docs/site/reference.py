"""Pages of reference: what docstrings say of every public name, and what `--help` says of every command."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import madkit
from madkit.cli.command import STAGES, main
from madkit.cli.commands import COMMANDS
from madkit.cli.source_classes import modules_by_class


def public_names() -> dict[str, list[str]]:
    """What is public, by package: the full names of all public classes, and of all that an ``__all__`` names."""
    found = {f"{module}.{name}" for name, module in modules_by_class().items()}
    for info in pkgutil.walk_packages(madkit.__path__, "madkit."):
        if info.ispkg and not info.name.startswith("madkit.cli"):
            package = import_module(info.name)
            for name in getattr(package, "__all__", ()):
                value = getattr(package, name)
                if inspect.isclass(value) or inspect.isfunction(value):
                    found.add(f"{value.__module__}.{value.__qualname__}")
    packages: dict[str, list[str]] = {}
    for name in sorted(found, key=lambda name: (name.split(".")[1], name.rpartition(".")[2].lower())):
        packages.setdefault(".".join(name.split(".")[:2]), []).append(name)
    return packages


def write_api(source: Path) -> list[tuple[str, str]]:
    """A page for each package.

    Returns:
        The title and path of each.
    """
    pages = []
    for package, names in public_names().items():
        about = " ".join((inspect.getdoc(import_module(package)) or "").split("\n\n")[0].split())
        text = "\n\n".join([f"# {package}", about, *(f"::: {name}" for name in names)])
        pages.append(_page(source, f"reference/api/{package}.md", package, text))
    return pages


def write_commands(source: Path) -> list[tuple[str, str]]:
    """A page for each command, as `write_api`."""
    pages = [_page(source, "reference/commands/madkit.md", "madkit", _shown("madkit", ["--help"]))]
    for name in (*STAGES, "run", *COMMANDS):
        path = f"reference/commands/{name.replace(' ', '-')}.md"
        pages.append(_page(source, path, name, _shown(f"madkit {name}", [*name.split(), "--help"])))
    return pages


def _page(source: Path, path: str, title: str, text: str) -> tuple[str, str]:
    (source / path).parent.mkdir(parents=True, exist_ok=True)
    (source / path).write_text(text + "\n", encoding="utf-8")
    return title, path


def _shown(title: str, words: Sequence[str]) -> str:
    text = io.StringIO()
    with patch.dict(os.environ, COLUMNS="100"), contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main(words)
    if not text.getvalue().strip():
        raise SystemExit(f"`madkit {' '.join(words)}` prints nothing")
    return f"# {title}\n\n```text\n{text.getvalue().rstrip()}\n```"
