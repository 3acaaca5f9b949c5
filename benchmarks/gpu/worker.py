"""The parts of one process, as that process does them."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gpu.section import Section, Settings

DONE, FAILED, MEMORY, TIME, NOT_RUN = "done", "failed", "out of memory", "out of time", "not run"


class NotRun(Exception):  # noqa: N818 - it is no error
    """What a part needs is not there; in one line."""


def work(section: Section, process: str, parts: Collection[str], settings: Settings, out: Path) -> None:
    """Do some parts, and write each down as soon as it is done.

    Args:
        section: to which the process belongs.
        process: its name.
        parts: which of its parts.
        settings: what they are told.
        out: a JSON file, of each part its state, and its facts or in a line what went wrong.
    """
    outcomes: dict[str, Any] = {}
    for name, part in section.processes[process].items():
        if name not in parts:
            continue
        start = time.perf_counter()
        try:
            outcome: dict[str, Any] = {"state": DONE, "facts": part(settings)}
        except NotRun as reason:
            outcome = {"state": NOT_RUN, "why": str(reason)}
        except ModuleNotFoundError as error:
            outcome = {"state": NOT_RUN, "why": f"{error.name} is not installed"}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            memory = type(error).__name__ == "OutOfMemoryError"
            outcome = {"state": MEMORY if memory else FAILED, "why": _line(error)}
        outcomes[name] = outcome | {"seconds": round(time.perf_counter() - start, 1)}
        _free()
        write_json(out, outcomes)


def write_json(path: Path, what: Any) -> None:
    """Write a JSON file, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(what, indent=1, default=float) + "\n")
    partial.replace(path)


def _line(error: BaseException) -> str:
    """The last line of an error, or of what a program printed before it ended, cut."""
    text = str(error).strip().splitlines()
    line = text[-1] if isinstance(error, SystemExit) and text else text[0] if text else ""
    named = line if isinstance(error, SystemExit) else f"{type(error).__name__}: {line}".rstrip(": ")
    return " ".join(named.split())[:200]


def _free() -> None:
    """Let go of what a part has left on the card: once the error that held it is gone."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
