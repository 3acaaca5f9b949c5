"""Files of the POSER benchmark: lists of scenarios, in either of its two row formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from madkit.errors import DataError
from madkit.poser.benchmark.scenario import LETTERS, Fact, Scenario


def read_benchmark(path: Path | str) -> list[Scenario]:
    """Read one benchmark file.

    Prompts that repeat are kept once: counted twice, they would make an interval too narrow.

    Args:
        path: a JSON list of rows with `prompt`, `response`, `facts`, `action_A` and `action_B`, and a layout under
            `format_string` or, in the older format, `format`.

    Returns:
        the distinct scenarios, in the order of the file.

    Raises:
        DataError: the file is unreadable or empty, a row is malformed, or two rows with the same prompt have
            different responses.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"benchmark={str(path)!r} cannot be read as JSON ({error}); name a benchmark file") from None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"benchmark={str(path)!r} holds no list of rows; name a benchmark file")
    scenarios = [_parse(row, f"{path.name} row {number}") for number, row in enumerate(rows)]
    return distinct(scenarios)


def distinct(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """Each prompt once, in order.

    Raises:
        DataError: a prompt has two responses.
    """
    kept: dict[str, Scenario] = {}
    for scenario in scenarios:
        first = kept.setdefault(scenario.prompt, scenario)
        if first.response != scenario.response:
            raise DataError(
                f"benchmark {first.source} and {scenario.source}: the same prompt has the responses "
                f"{first.response} and {scenario.response}; remove one of them"
            )
    return list(kept.values())


def write_benchmark(scenarios: Iterable[Scenario]) -> str:
    """The rows as JSON text in the newer of the benchmark's formats, which `read_benchmark` reads."""
    rows = [
        {
            "prompt": s.prompt,
            "response": s.response,
            "action_A": s.actions[0],
            "action_B": s.actions[1],
            "actions": list(s.actions),
            "facts": [{"type": fact.kind, "content": fact.content} for fact in s.facts],
            "format_string": s.layout,
            "complexity_level": s.complexity,
            "oversight_is_poor": s.unseen,
        }
        for s in scenarios
    ]
    return json.dumps(rows, indent=1)


def _parse(row: Any, source: str) -> Scenario:
    if not isinstance(row, Mapping):
        raise DataError(f"benchmark {source} is no mapping; each row needs prompt, response, facts and two actions")
    layout = row.get("format_string", row.get("format"))
    needed = {"prompt": str, "response": str, "facts": list, "action_A": str, "action_B": str}
    wrong = [name for name, kind in needed.items() if not isinstance(row.get(name), kind)]
    if wrong or not isinstance(layout, str):
        raise DataError(
            f"benchmark {source} lacks {', '.join(wrong) or 'format_string (or format)'} or has another type"
        )
    if row["response"] not in LETTERS:
        raise DataError(f"benchmark {source} has response={row['response']!r}; use A or B")
    try:
        facts = tuple(Fact(fact["content"], fact.get("type")) for fact in row["facts"])
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"benchmark {source}: every fact must be a mapping with `content`") from None
    return Scenario(
        prompt=row["prompt"],
        response=row["response"],
        actions=(row["action_A"], row["action_B"]),
        facts=facts,
        layout=layout,
        complexity=row.get("complexity_level"),
        unseen=bool(row.get("oversight_is_poor", False)),
        source=source,
    )
