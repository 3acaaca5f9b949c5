"""`madkit figures`: tables and figures of any number of runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from madkit.errors import ConfigError
from madkit.figures import draw
from madkit.runs.leftovers import sweep
from madkit.runs.lock import locked


def figures(
    runs: list[str],
    out: str = "figures",
    formats: list[str] | None = None,
    jobs: int | None = None,
    with_: list[str] | None = None,
) -> int:
    """Draw, naming each file as it is written.

    Args:
        runs: Folders that are searched for results.
        out: Where to write.
        formats: png, pdf or svg; by default png and pdf.
        jobs: Processes; by default one per core.
        with_: Python files, or modules by name, with figures of your own, drawn with the rest.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs={jobs} must be at least 1")
    with locked(Path(out) / ".lock", "madkit figures"):
        sweep(Path(out))
        draw(
            [Path(run) for run in runs],
            Path(out),
            formats or ["png", "pdf"],
            progress=lambda path: print(path, file=sys.stderr, flush=True),
            jobs=jobs or os.cpu_count() or 1,
            further=with_ or [],
        )
    return 0
