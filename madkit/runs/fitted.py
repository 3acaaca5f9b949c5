"""FitMarker: ``fit.json``, the file that `fit` writes last; it says what it has left, so that this can be checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from madkit.errors import StoreError
from madkit.runs.atomic import write_json
from madkit.runs.file_digest import file_digest, folder_digests

_NAME = "fit.json"
#: What a fit leaves beside its result.
_TABLES = ("history.parquet",)


class FitMarker:
    """What says that a run has been fitted.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME

    def read(self) -> dict[str, Any] | None:
        """What it says; None if it is missing or damaged."""
        try:
            content = json.loads(self.path.read_text())
            complete = isinstance(content["key"], str) and isinstance(content["files"][content["result"]], dict)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return content if complete else None

    def holds(self, key: str) -> bool:
        """Whether the recipe with this key has been fitted, and what it left is still whole."""
        content = self.read()
        if content is None or content["key"] != key or self._difference(content) is not None:
            return False
        return all((self.path.parent / name).is_file() for name in content.get("tables", []))

    def write(self, key: str, result: str, **more: Any) -> None:
        """Declare the recipe with this key fitted.

        Args:
            key: of the recipe.
            result: the folder that was exported, below the run folder.
            more: what else to say.
        """
        # But for what is for people to read.
        files = {result: folder_digests(self.path.parent / result, lambda path: path.suffix != ".md")}
        tables = [name for name in _TABLES if (self.path.parent / name).is_file()]
        write_json(self.path, {"key": key, "result": result, "files": files, "tables": tables, **more})

    def touch(self) -> None:
        """Declare it up to date as of now, which is what `make` looks at."""
        os.utime(self.path)

    def remove(self) -> None:
        """Declare that nothing has been fitted."""
        self.path.unlink(missing_ok=True)

    def require(self, result: Path) -> None:
        """Refuse what `fit` has not completed, or what has changed since.

        A folder without traces of a `fit` is somebody's own and may hold anything.

        Args:
            result: the exported folder, or one below it.

        Raises:
            StoreError: it is unfinished, or a file is missing or is not what was written.
        """
        folder = self.path.parent
        again = f"run the same `madkit fit` again, which makes {str(result)!r} whole"
        if not self.path.exists():
            if (folder / "fit.yaml").exists() and (folder / "checkpoints").exists():
                raise StoreError(f"the fit in {str(folder)!r} is not finished: {again}")
            return
        content = self.read()
        if content is None:
            raise StoreError(f"{str(self.path)!r} is damaged: {again}")
        if result.relative_to(folder).parts[0] == content["result"] and (name := self._difference(content)):
            raise StoreError(
                f"{str(folder / name)!r} is missing or not what `madkit fit` has written: {again}; "
                f"if it is yours, delete {str(self.path)!r}"
            )

    def _difference(self, content: dict[str, Any]) -> str | None:
        """The first file that is missing or differs."""
        for result, files in content["files"].items():
            for name, digest in files.items():
                path = self.path.parent / result / name
                if not path.is_file() or file_digest(path) != digest:
                    return f"{result}/{name}"
        return None


def require_fitted(result: Path) -> None:
    """Refuse a folder that `fit` has not completed, or that has changed since; see `FitMarker.require`.

    Args:
        result: such as ``<run>/<dataset>/adapter``.
    """
    FitMarker(result.absolute().parent).require(result.absolute())
