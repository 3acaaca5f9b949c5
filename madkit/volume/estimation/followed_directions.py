"""The directions of an estimate on disk, so that an interrupted estimate continues."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from madkit.errors import StoreError
from madkit.runs.atomic import write_json

#: Sums over a model are the same up to the order of their terms, which differs between machines.
CLOSE = 1e-6


class FollowedDirections:
    """A folder with the result of each direction that has been followed, one small file each.

    Args:
        folder: where; None keeps nothing.
        settings: what decides the results and must be equal.
        numbers: the same, of what is equal up to rounding.

    Raises:
        StoreError: the folder was written under other settings or numbers.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any], numbers: dict[str, float]) -> None:
        self.folder = folder
        if folder is None:
            return
        path = folder / "settings.json"
        if not path.exists():
            write_json(path, {"settings": settings, "numbers": numbers})
            return
        try:
            before = json.loads(path.read_text())
            before["settings"].keys(), before["numbers"].keys()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{str(path)!r} is damaged; delete folder {str(folder)!r}") from None
        changed = [name for name, value in settings.items() if before["settings"].get(name) != value]
        old = before["numbers"]
        changed += [n for n, x in numbers.items() if not math.isclose(x, old.get(n, math.nan), rel_tol=CLOSE)]
        changed += sorted(set(old) - set(numbers))
        if changed:
            raise StoreError(
                f"folder {str(folder)!r} holds directions of other weights, prompts or settings "
                f"({', '.join(changed[:5])}); name another folder or delete it"
            )

    def read(self, number: int) -> dict[str, Any] | None:
        """The result of a direction; None if it has not been followed."""
        if self.folder is None:
            return None
        try:
            found = json.loads(self._path(number).read_text())
        except (OSError, ValueError):  # not there or damaged: it is followed again
            return None
        return found if isinstance(found, dict) else None

    def write(self, number: int, result: dict[str, Any]) -> None:
        """Keep the result of a direction."""
        if self.folder is not None and self.read(number) is None:
            write_json(self._path(number), result)

    def _path(self, number: int) -> Path:
        return (self.folder or Path()) / f"direction-{number:05d}.json"
