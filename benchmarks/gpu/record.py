"""The results of one card: a JSON file, to which every part is added as it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gpu.machine import digest
from gpu.section import Facts, Section
from gpu.worker import DONE, NOT_RUN, write_json


class Record:
    """What was measured so far, by section and part.

    Args:
        path: of the JSON file; what it holds of another machine or of other versions is not used.
        machine: card and versions.
    """

    def __init__(self, path: Path, machine: dict[str, Any]) -> None:
        self.path = path
        held = json.loads(path.read_text()) if path.is_file() else {}
        self.known: dict[str, Any] = held if held.get("machine") == machine else {"machine": machine, "sections": {}}

    def done(self, section: Section) -> set[str]:
        """Its parts that need not be done again: done by the same program."""
        held = self._parts(section)
        return {name for name, part in held.items() if part["state"] == DONE and part["program"] == program(section)}

    def add(self, section: Section, outcomes: dict[str, Any]) -> None:
        """Keep the outcomes of some parts; a result is not replaced by a failure of the same program."""
        kept, done = self._parts(section), self.done(section)
        stamp = {"program": program(section), "date": time.strftime("%Y-%m-%d")}
        kept.update({name: of | stamp for name, of in outcomes.items() if of["state"] == DONE or name not in done})
        self.known["sections"][section.name] = {name: kept[name] for name in section.parts if name in kept}
        write_json(self.path, self.known)

    def forget(self, section: Section) -> None:
        """Leave out what is known of a section."""
        self.known["sections"].pop(section.name, None)

    def facts(self, section: Section) -> dict[str, Facts]:
        """What was measured, by part."""
        return {name: part["facts"] for name, part in self._parts(section).items() if part["state"] == DONE}

    def failures(self, section: Section) -> dict[str, str]:
        """Of the parts that were tried and not done, what came of them."""
        tried = {name: part for name, part in self._parts(section).items() if part["state"] != DONE}
        return {name: ": ".join(filter(None, (part["state"], part.get("why")))) for name, part in tried.items()}

    def failed(self, section: Section) -> bool:
        """Whether something went wrong; what was not run has not."""
        return any(part["state"] not in (DONE, NOT_RUN) for part in self._parts(section).values())

    def older(self, sections: Collection[Section]) -> list[str]:
        """Names of sections with results of another state of the program."""
        return [s.name for s in sections if any(p["program"] != program(s) for p in self._parts(s).values())]

    def _parts(self, section: Section) -> dict[str, Any]:
        return dict(self.known["sections"].get(section.name, {}))


def program(section: Section) -> str:
    """The digest of all text that a section's numbers come from."""
    return digest(("madkit", f"benchmarks/gpu/sections/{section.name}.py", *section.sources))
