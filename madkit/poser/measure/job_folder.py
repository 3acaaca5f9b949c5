"""JobFolder: the measurements of one model on one set of prompts, on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from madkit.errors import StoreError
from madkit.runs.atomic import write_json, write_parquet
from madkit.runs.fingerprints import digest


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
        file = self.path / "job.json"
        if not file.is_file():
            return None
        job = json.loads(file.read_text())
        return job["model"] if job["settings"] == self.settings else None

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
        return self.part(name, options).is_file()

    def write(self, table: pd.DataFrame, name: str, options: Any = None) -> None:
        """Write a complete part."""
        write_parquet(self.part(name, options), table)

    def read(self, name: str, options: Any = None) -> pd.DataFrame:
        """Read a complete part.

        Raises:
            StoreError: it is missing.
        """
        file = self.part(name, options)
        if not file.is_file():
            raise StoreError(f"{file} is missing; repeat `madkit test`, which measures what is missing")
        return pd.read_parquet(file)
