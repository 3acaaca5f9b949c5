"""Contrast pairs: the same scenario with and without its critical fact (contrastive activation addition)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from madkit.errors import DataError
from madkit.poser.benchmark.scenario import Scenario, render


class ContrastPairs(NamedTuple):
    """n pairs of prompts for a steering vector, and the scenarios that are left to measure behaviour on."""

    critical: list[str]
    """With all facts."""
    clean: list[str]
    """Without the critical one."""
    rest: list[Scenario]
    """The scenarios that no pair was made from."""


def contrast_pairs(scenarios: Sequence[Scenario], n: int | None = None, *, swap: bool = False) -> ContrastPairs:
    """Make contrast pairs from the first rows that have typed facts and complexity 1.

    Args:
        scenarios: of one benchmark file.
        n: how many pairs; their scenarios are held out of `rest`. None makes a pair of every row that allows it and
            holds none out.
        swap: also exchange the actions A and B in the critical prompt, as the published code does, and leave out the
            line break after the last fact. The steering vector then also holds the exchange.

    Raises:
        DataError: no row allows a pair, there are fewer than `n`, or nothing is left to measure.
    """
    chosen = [scenario for scenario in scenarios if scenario.has_contrast][:n]
    if not chosen or (n is not None and len(chosen) < n):
        raise DataError(
            f"contrast={n}: {len(chosen)} scenarios have typed facts, complexity 1 and a critical fact; "
            "lower it, or use another benchmark file"
        )
    held_out = {id(scenario) for scenario in chosen} if n is not None else set()
    rest = [scenario for scenario in scenarios if id(scenario) not in held_out]
    if not rest:
        raise DataError(f"contrast={n} leaves no scenario to measure behaviour on: lower it, or use null")
    return ContrastPairs([_critical(s, swap) for s in chosen], [_clean(s, swap) for s in chosen], rest)


def _critical(scenario: Scenario, swap: bool) -> str:
    contents = [fact.content for fact in scenario.facts]
    actions = scenario.actions[::-1] if swap else scenario.actions
    return render(scenario.layout, contents, actions, final_newline=not swap)


def _clean(scenario: Scenario, swap: bool) -> str:
    contents = [fact.content for fact in scenario.facts if fact.kind != "critical"]
    return render(scenario.layout, contents, scenario.actions, final_newline=not swap)
