"""The Markdown table of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from gpu.record import Record
from gpu.section import Section

HEAD = "| section | measured on | result | alternative | ratio |\n|---|---|---|---|---|"


def table(record: Record, sections: Sequence[Section]) -> str:
    """The page: the machine, a line for each measurement, and what was not measured."""
    machine = dict(record.known["machine"])
    reduced = machine.pop("reduced")
    card = machine.pop("card")
    rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    told = "Sizes are reduced: these numbers mean nothing. " if reduced else ""
    lines = [f"# Measured on {card}", "", f"{told}Made by `make gpu` ({rest}).", "", HEAD]
    for section in sections:
        rows = section.rows(record.facts(section))
        lines += [f"| `{section.name}` | {' | '.join(row)} |" for row in rows]
    missing = [
        f"- `{section.name}`, {part}: {why}." for section in sections for part, why in record.failures(section).items()
    ]
    untried = [s.name for s in sections if set(s.parts) - set(record.facts(s)) - set(record.failures(s))]
    if untried:
        missing.append(f"- Not tried yet, or in part: {', '.join(f'`{name}`' for name in untried)}.")
    if missing:
        lines += ["", "Not measured:", "", *missing]
    if older := record.older(sections):
        lines += ["", f"Of another state of the program: {', '.join(f'`{name}`' for name in older)}."]
    return "\n".join(lines) + "\n"
