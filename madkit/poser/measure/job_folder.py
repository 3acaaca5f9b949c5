"""JobFolder: the measurements of one model on one set of prompts, on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from madkit.runs.atomic import write_json
from madkit.runs.fingerprints import digest
from madkit.runs.leftovers import sweep
from madkit.runs.lock import locked
from madkit.runs.tables import is_table, read_table, write_parquet


class JobFolder:
    """A folder with `job.json`, which says what was measured, and one file for each part that is complete.

    Parts of another model or other settings are removed when the folder is opened for a new measurement; the file of a
    part has a digest of the part's options in its name. So nothing is read that another recipe has measured.

    Args:
        path: the folder.
        settings: what decides the numbers besides the model and the options of each part.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings

    @property
    def model(self) -> str | None:
        """Fingerprint of the model that was measured under these settings; None if none was."""
        try:
            job = json.loads((self.path / "job.json").read_text())
            return job["model"] if job["settings"] == self.settings else None
        except (OSError, ValueError, KeyError, TypeError):  # damaged: what is there is measured again
            return None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Measure alone: another process that begins the same job meanwhile is refused.

        Raises:
            StoreError: another process is measuring.
        """
        with locked(self.path.with_name(f".{self.path.name}.lock"), "madkit test"):
            sweep(self.path)
            yield

    def start(self, model: str) -> None:
        """Keep the parts of the same model under the same settings, and remove all others."""
        if self.model == model:
            return
        if self.path.is_dir():
            shutil.rmtree(self.path)
        write_json(self.path / "job.json", {"model": model, "settings": self.settings})

    def part(self, name: str, options: Any = None) -> Path:
        """The file of a part."""
        return self.path / f"{name.replace(' ', '_')}-{digest(options)[:8]}.parquet"

    def has(self, name: str, options: Any = None) -> bool:
        """Whether a part is complete."""
        return is_table(self.part(name, options))

    def write(self, table: pd.DataFrame, name: str, options: Any = None) -> None:
        """Write a complete part."""
        write_parquet(self.part(name, options), table)

    def remove(self, name: str, options: Any = None) -> None:
        """Remove a part, and what was kept of it on the way."""
        part = self.part(name, options)
        shutil.rmtree(part.with_suffix(""), ignore_errors=True)
        part.unlink(missing_ok=True)

    def read(self, name: str, options: Any = None) -> pd.DataFrame:
        """Read a complete part.

        Raises:
            StoreError: it is missing.
        """
        return read_table(self.part(name, options), "repeat `madkit test`, which measures what is missing")
