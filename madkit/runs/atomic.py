"""Write files so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Let ``write`` make a file or folder under a temporary name beside ``path``, then rename it to that.

    The process' id is part of the temporary name, so two processes never write into one another's file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomically(folder / "a.txt", lambda p: p.write_text("all of it")).read_text()
        'all of it'
        >>> [p.name for p in folder.iterdir()]
        ['a.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    remove(temporary)
    try:
        write(temporary)
        if path.is_dir():
            remove(path)
        temporary.replace(path)
    finally:
        remove(temporary)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a plain value as JSON."""
    return write_atomically(path, lambda p: p.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n"))


def write_parquet(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as parquet."""
    return write_atomically(path, lambda p: table.to_parquet(p, index=False))


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
