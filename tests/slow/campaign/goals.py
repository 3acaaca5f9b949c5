"""What the whole campaign has to reach."""

from collections.abc import Sequence
from typing import Any

#: Outcome, and how many cases may end so.
GOALS = {"broken": 0, "hang": 0, "outside": 0, "wrong": 0, "lost": 0, "traceback": 5, "unclear": 10}


def missed(outcomes: Sequence[Any]) -> list[str]:
    """A line for each goal that is missed."""
    counts = {name: sum(outcome.outcome == name for outcome in outcomes) for name in GOALS}
    return [
        f"{counts[name]} cases are {name}; the goal is at most {most}"
        for name, most in GOALS.items()
        if counts[name] > most
    ]
