"""The commands that most cases give, in few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from campaign.case import Case, Computed, Step
from campaign.place import FIT, PREDICT, TEST, Place


def fit(expect: Any, *more: str, **options: Any) -> Step:
    """A short fit with more options."""
    return Step((*FIT, *more), expect, **options)


def predict(expect: Any, *more: str, **options: Any) -> Step:
    """A short predict with more options."""
    return Step((*PREDICT, *more), expect, **options)


def test(expect: Any, *more: str, **options: Any) -> Step:
    """A short test with more options."""
    return Step((*TEST, *more), expect, **options)


def command(expect: Any, *words: str, **options: Any) -> Step:
    """Any other command."""
    return Step(words, expect, **options)


def refit(recipe: str, expect: Any, *more: str, **options: Any) -> Step:
    """A short fit by another recipe."""
    words = tuple(recipe if word.endswith("tiny-llama.yaml") else word for word in FIT)
    return Step((*words, *more), expect, **options)


def computed(name: str, call: Callable[[], Any], *patterns: str, or_right: bool = False) -> Case:
    """A call from Python: refused in a line that holds the patterns; or, without patterns, right (it returns None)."""

    def run(place: Place) -> Any:
        return call()

    return Case(name, (Step(run, Computed(*patterns, or_right=or_right)),))
