"""Sections one after another, each process within its limit and all within one budget of time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any

from gpu.processes import last_line, python, run_limited
from gpu.record import Record
from gpu.section import Section, Settings
from gpu.worker import FAILED, NOT_RUN, TIME

LEAST = 20.0  # seconds below which no process is started
SPARE = 5.0  # of the limit of a process, for its end
MAIN = Path(__file__).with_name("__main__.py")
#: Runs one process of a section: its name, the parts, the settings, and where its outcomes and its output go.
Launch = Callable[[Section, str, list[str], Settings, Path, Path], int | None]


def run(
    record: Record, sections: Sequence[Section], folder: Path, budget: float, reduced: bool, launch: Launch
) -> None:
    """Do what is not done yet.

    Args:
        record: to which every outcome is added.
        sections: in the order of their worth.
        folder: for files that parts leave, and for logs.
        budget: seconds for all.
        reduced: see `Settings`.
        launch: how a process is run.
    """
    end = time.monotonic() + budget

    def do(section: Section, process: str) -> dict[str, Any]:
        """The outcomes of a process' parts, by name."""
        todo = [name for name in section.processes[process] if name not in record.done(section)]
        seconds = min(float(section.seconds), end - time.monotonic())
        missing = [name for name in section.needs if util.find_spec(name) is None]
        if missing or seconds < LEAST:
            why = f"{', '.join(missing)} is not installed" if missing else "no time left; give the command again"
            return {name: {"state": NOT_RUN, "why": why} for name in todo}
        settings = Settings(reduced, folder / section.name, seconds - SPARE)
        return _outcomes(section, process, todo, settings, launch, folder / "logs") if todo else {}

    for section in sections:
        for name in sorted(record.done(section)):
            print(f"{section.name}, {name}: done before", flush=True)
        with ThreadPoolExecutor(len(section.processes) if section.together else 1) as side_by_side:
            for outcomes in side_by_side.map(partial(do, section), section.processes):
                record.add(section, outcomes)
                for name, of in outcomes.items():
                    print(f"{section.name}, {name}: {_said(of)}", flush=True)


def _said(outcome: dict[str, Any]) -> str:
    took = f"{outcome['seconds']} s" if "seconds" in outcome else ""
    return ", ".join(filter(None, (outcome["state"], outcome.get("why"), took)))


def _outcomes(
    section: Section, process: str, parts: list[str], settings: Settings, launch: Launch, logs: Path
) -> dict[str, Any]:
    """What became of each part; those that the process did not come to are told by how it ended."""
    stem = "-".join(f"{section.name} {process}".split())
    out, log = logs / f"{stem}.json", logs / f"{stem}.log"
    out.unlink(missing_ok=True)
    status = launch(section, process, parts, settings, out, log)
    outcomes: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    ended: dict[str, Any] = {"state": TIME, "why": f"ended after {settings.seconds:.0f} s"}
    if status is not None:
        ended = {"state": FAILED, "why": f"the process ended with status {status}: {last_line(log)}"}
    return {name: outcomes.get(name, ended) for name in parts}


def in_own_process(
    section: Section, process: str, parts: list[str], settings: Settings, out: Path, log: Path
) -> int | None:
    """Run a process of a section; its exit status, None where its time was over."""
    words = ["--process", section.name, process, *parts, "--to", str(out), "--folder", str(settings.folder)]
    words += ["--seconds", str(settings.seconds), *(["--reduced"] if settings.reduced else [])]
    return run_limited(python(str(MAIN), *words), log, settings.seconds + SPARE)
