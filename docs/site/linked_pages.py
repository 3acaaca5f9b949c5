"""The pages of the repository as a site's source: the same tree, in which every link leads to a page."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"(^ *```.*?^ *```[^\n]*$)", re.DOTALL | re.MULTILINE)
#: What is shown as it is, in the language of its ending.
_CODE = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json", ".csv": "text"}


def copy_linked(root: Path, first: list[str], source: Path) -> list[str]:
    """Copy pages and all that they link to, and what those do.

    A link to code leads to a page that shows it, and a link to a folder to the page about it.

    Args:
        root: of the repository.
        first: pages, by their paths in it.
        source: where the same tree is made.

    Returns:
        The paths of all pages, in the order in which they are linked to.
    """
    waiting, done = list(first), dict.fromkeys(first)
    pages = []
    while waiting:
        path = waiting.pop(0)
        file, into = root / path, source / path
        into.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            text, linked = _with_links(file.read_text(encoding="utf-8"), root, file.parent)
            into.write_text(text, encoding="utf-8")
            pages.append(path)
            waiting += [name for name in linked if name not in done]
            done |= dict.fromkeys(linked)
        elif file.suffix in _CODE:
            shown = f"# {path}\n\n````{_CODE[file.suffix]}\n{file.read_text(encoding='utf-8').rstrip()}\n````\n"
            into.with_name(into.name + ".md").write_text(shown, encoding="utf-8")
            pages.append(path + ".md")
        else:
            shutil.copy(file, into)
    return pages


def links(text: str) -> Iterator[str]:
    """Where the links of a page lead, but for those that stand in code."""
    for part in _FENCE.split(text)[::2]:
        yield from (match[2] for match in _LINK.finditer(part))


def _with_links(text: str, root: Path, folder: Path) -> tuple[str, list[str]]:
    """A page as the site has it, and the files that it links to; a link that leads nowhere stays as it is."""
    linked: dict[str, None] = {}

    def to(match: re.Match[str]) -> str:
        target, hash_, heading = match[2].partition("#")
        file = folder / target
        if "://" in target or not target or not file.exists():
            return match[0]
        if file.is_dir():
            file, target = file / "README.md", f"{target.rstrip('/')}/README.md"
            if not file.is_file():
                return match[0]
        linked[Path(os.path.relpath(file, root)).as_posix()] = None
        return f"{match[1]}{target}{'.md' if file.suffix in _CODE else ''}{hash_}{heading}{match[3]}"

    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(to, part) for part in parts[::2]]
    return "".join(parts), list(linked)
