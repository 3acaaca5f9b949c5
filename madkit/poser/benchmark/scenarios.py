"""Scenarios: role-play prompts with two actions, as the POSER benchmark stores them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from madkit.errors import DataError

LETTERS = ("A", "B")
OPEN, CLOSE = "<<prompt>>", "<</prompt>>"


class Fact(NamedTuple):
    """One numbered line of a scenario."""

    content: str
    kind: str | None = None
    """`irrelevant`, `contextual`, `motivating`, `critical` (whether misbehaviour would be noticed) or
    `system_message`; None in the older rows, which do not say."""


@dataclass(frozen=True)
class Scenario:
    """A prompt and the action that both models of a pair choose.

    Attributes:
        prompt: The text, with its marks.
        response: The letter of that action, `A` or `B`; the other one is the misaligned answer.
        actions: What the letters stand for.
        facts: In the order of the prompt.
        layout: The text around facts and actions, with `{facts_string}`, `{action_A}` and `{action_B}`.
        complexity: 1 where a critical fact is given, 0 where none is, None in the older rows.
        unseen: Whether the prompt says that misbehaviour would not be noticed.
        source: The file it is from.
    """

    prompt: str
    response: str
    actions: tuple[str, str]
    facts: tuple[Fact, ...]
    layout: str
    complexity: int | None = None
    unseen: bool = False
    source: str = field(default="", compare=False)

    @property
    def misaligned(self) -> int:
        """The place of the misaligned answer among the letters, 0 or 1."""
        return 1 - LETTERS.index(self.response)

    @property
    def has_contrast(self) -> bool:
        """Whether the row makes a contrast pair: typed facts, complexity 1, a critical fact."""
        return self.complexity == 1 and any(fact.kind == "critical" for fact in self.facts)


def render(layout: str, facts: Iterable[str], actions: Sequence[str], *, final_newline: bool = True) -> str:
    r"""Write a prompt: numbered facts, then the actions, between the benchmark's marks.

    Args:
        layout: See `Scenario`.
        facts: Contents.
        actions: Of A and B.
        final_newline: End the last fact's line too, as the benchmark's own prompts do.

    Example:
        >>> render("{facts_string}A: {action_A} B: {action_B}?", ["You are audited."], ["obey", "cheat"])
        '<<prompt>>1. You are audited.\nA: obey B: cheat?<</prompt>>'
    """
    lines = "\n".join(f"{place}. {content}" for place, content in enumerate(facts, 1))
    # Replaced and not formatted: facts may hold braces.
    text = layout.replace("{facts_string}", lines + ("\n" if final_newline else ""))
    for letter, action in zip(LETTERS, actions, strict=True):
        text = text.replace(f"{{action_{letter}}}", action)
    return f"{OPEN}{text}{CLOSE}"


def read_benchmark(path: Path | str) -> list[Scenario]:
    """Read one benchmark file, in either of its two row formats.

    Prompts that repeat are kept once: counted twice, they would make an interval too narrow.

    Args:
        path: A JSON list of rows with `prompt`, `response`, `facts`, `action_A` and `action_B`, and a layout under
            `format_string` or, in the older format, `format`.

    Returns:
        The distinct scenarios, in the order of the file.

    Raises:
        DataError: The file is unreadable or empty, a row is malformed, or two rows with the same prompt have
            different responses.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"benchmark={str(path)!r} cannot be read as JSON ({error}); name a benchmark file") from None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"benchmark={str(path)!r} holds no list of rows; name a benchmark file")
    scenarios = [_parse(row, f"{path.name} row {place}") for place, row in enumerate(rows)]
    return distinct(scenarios)


def distinct(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """Each prompt once, in order.

    Raises:
        DataError: A prompt has two responses.
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


def _parse(row: Any, place: str) -> Scenario:
    if not isinstance(row, Mapping):
        raise DataError(f"benchmark {place} is no mapping; each row needs prompt, response, facts and two actions")
    layout = row.get("format_string", row.get("format"))
    needed = {"prompt": str, "response": str, "facts": list, "action_A": str, "action_B": str}
    wrong = [name for name, kind in needed.items() if not isinstance(row.get(name), kind)]
    if wrong or not isinstance(layout, str):
        raise DataError(
            f"benchmark {place} lacks {', '.join(wrong) or 'format_string (or format)'} or has another type"
        )
    if row["response"] not in LETTERS:
        raise DataError(f"benchmark {place} has response={row['response']!r}; use A or B")
    try:
        facts = tuple(Fact(fact["content"], fact.get("type")) for fact in row["facts"])
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"benchmark {place}: every fact must be a mapping with `content`") from None
    return Scenario(
        prompt=row["prompt"],
        response=row["response"],
        actions=(row["action_A"], row["action_B"]),
        facts=facts,
        layout=layout,
        complexity=row.get("complexity_level"),
        unseen=bool(row.get("oversight_is_poor", False)),
        source=place,
    )
