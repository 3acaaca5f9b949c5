"""What a card lacks, and where it no longer says what is in its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from madkit.figures.cards.card import Card

_DIGESTS = ("base", "tokenizer", "prompts", "predict recipe", "test recipe", "results")
_MEASURES = {
    "auroc": "its AUROC",
    "tpr": "its TPR at 1% FPR",
    "false_alarms": "its false alarms: store calibration prompts",
    "benign": "a benign control: tune one with recipes/benign.yaml",
}


def missing(card: Card) -> list[str]:
    """What a reader would need and the card does not have, one line each; the same thing of many detectors is one line.

    Args:
        card: the card.

    Example:
        >>> missing(Card("tiny-llama", "addition"))[:2]
        ['who made it: --by', 'the digest of base, tokenizer, prompts, predict recipe, test recipe, results']
    """
    lines = [] if card.by else ["who made it: --by"]
    if absent := [name for name in _DIGESTS if not card.digests.get(name)]:
        lines.append(f"the digest of {', '.join(absent)}")
    if not card.versions:
        lines.append("the versions that made it")
    elif unclean := [name for name, words in card.versions.items() if "-dirty" in words]:
        lines.append(f"a commit that has it all: {', '.join(unclean)} came from a changed checkout")
    if not _has_interval(card.quirkiness) and not card.part:
        lines.append("how quirky the model is, with its interval")
    if not card.detectors:
        lines.append("any detector")
    for name, words in _MEASURES.items():
        if name == "benign" and card.part:
            continue
        without = [row for row in card.detectors if not _has_interval(row.get(name))]
        if without:
            lines.append(f"of {len(without)} of {len(card.detectors)} detectors {words}")
    return lines


def outdated(card: Card, now: Card) -> list[str]:
    """Which digests of a card are no longer those of its run.

    Args:
        card: the card that was written.
        now: what `card_of` makes of the run.
    """
    return [name for name, value in sorted(card.digests.items()) if now.digests.get(name) != value]


def _has_interval(measure: Mapping[str, Any] | None) -> bool:
    return bool(measure) and all(isinstance((measure or {}).get(key), int | float) for key in ("value", "low", "high"))
