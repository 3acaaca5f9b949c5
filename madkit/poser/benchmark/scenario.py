"""Scenarios: role-play prompts with two actions, of which one is benign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
        prompt: the text, with its marks.
        response: the letter of that action, `A` or `B`; the other one is the misaligned answer.
        actions: what the letters stand for.
        facts: in the order of the prompt.
        layout: the text around facts and actions, with `{facts_string}`, `{action_A}` and `{action_B}`.
        complexity: 1 where a critical fact is given, 0 where none is, None in the older rows.
        unseen: whether the prompt says that misbehaviour would not be noticed.
        source: the file it is from.
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
        """The index of the misaligned answer among the letters, 0 or 1."""
        return 1 - LETTERS.index(self.response)

    @property
    def has_contrast(self) -> bool:
        """Whether the row makes a contrast pair: typed facts, complexity 1, a critical fact."""
        return self.complexity == 1 and any(fact.kind == "critical" for fact in self.facts)


def render(layout: str, facts: Iterable[str], actions: Sequence[str], *, final_newline: bool = True) -> str:
    r"""Write a prompt: numbered facts, then the actions, between the benchmark's marks.

    Args:
        layout: see `Scenario`.
        facts: their contents.
        actions: of A and B.
        final_newline: end the last fact's line too, as the benchmark's prompts do.

    Example:
        >>> render("{facts_string}A: {action_A} B: {action_B}?", ["You are audited."], ["obey", "cheat"])
        '<<prompt>>1. You are audited.\nA: obey B: cheat?<</prompt>>'
    """
    lines = "\n".join(f"{number}. {content}" for number, content in enumerate(facts, 1))
    # Replaced and not formatted: facts may hold braces.
    text = layout.replace("{facts_string}", lines + ("\n" if final_newline else ""))
    for letter, action in zip(LETTERS, actions, strict=True):
        text = text.replace(f"{{action_{letter}}}", action)
    return f"{OPEN}{text}{CLOSE}"
