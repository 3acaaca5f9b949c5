"""Runs of several people side by side, by their cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import pandas as pd

from madkit.figures.cards.card import MEASURES, Card, shown
from madkit.figures.naming import detector_name, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, ordered_datasets
from madkit.figures.tables.document import Document

_Key = tuple[str, str, str]
#: What has to be the same for two numbers to be of the same thing.
_SAME = ("base", "prompts")
_COMPARED = ("base", "adapter", "prompts", "fit recipe", "predict recipe", "test recipe")


@artist("comparison", after="seeds")
def cards(results: Results) -> Iterator[Sheet]:
    """`table_cards.md` and `.csv`: what each card says, of the same dataset side by side; nothing for a single card."""
    read = [Card.read(path) for path in results.cards]
    if len(read) < 2:
        return
    groups: dict[tuple[str, str], list[Card]] = {}
    for dataset in ordered_datasets(card.dataset for card in read):
        for card in read:
            if card.dataset == dataset:
                groups.setdefault((dataset, card.part), []).append(card)
    yield Sheet("table_cards.csv", _table(read).to_csv(index=False, lineterminator="\n"))
    tables, findings = {}, list[str]()
    for (dataset, part), group in groups.items():
        names = _names(group)
        heading = dataset + (f" ({part})" if part else "")
        tables[heading] = (["AUROC", *names], _rows(group))
        findings += [f"{heading}: {line}" for line in _disagreements(group, names)]
    notes = [
        "Digests are of contents: the same base, prompts or recipe has the same digest, wherever it lay. Where "
        "*base* or *prompts* differ, so does what was measured.",
        "Each AUROC: all test prompts, mean over layers, value [95% interval], as its card says; nothing is measured "
        "again. Intervals of one run do not speak of another training.",
    ]
    yield Sheet("table_cards.md", Document("Result cards", "One column a card.", tables, notes, findings))


def _names(group: Sequence[Card]) -> list[str]:
    """What tells the cards of a group apart: whose, which model, which seed; a number where that is not enough."""
    names = [f"{card.by}: {card.model}" if card.by else card.model for card in group]
    names = [name + (f", seed {card.seed}" if card.seed else "") for name, card in zip(names, group, strict=True)]
    counts, seen = Counter(names), Counter[str]()
    for place, name in enumerate(names):
        seen[name] += 1
        if counts[name] > 1:
            names[place] = f"{name} ({seen[name]})"
    return names


def _by_detector(card: Card) -> dict[_Key, dict[str, object]]:
    return {(row["feature"], row["score"], row["setting"]): dict(row["auroc"] or {}) for row in card.detectors}


def _rows(group: Sequence[Card]) -> list[list[str]]:
    """The digests and the quirkiness of each card, then a line per detector, in the order of the first card with it."""
    found = [_by_detector(card) for card in group]
    lines = [[name, *(card.digests.get(name, "-")[:8] for card in group)] for name in _COMPARED]
    lines.append(["quirkiness", *(shown(card.quirkiness) for card in group)])
    for key in dict.fromkeys(key for rows in found for key in rows):
        lines.append([_called(key), *(shown(rows.get(key)) for rows in found)])  # type: ignore[arg-type]
    return lines


def _called(key: _Key) -> str:
    feature, score, setting = key
    return with_setting(detector_name(feature, score), setting)


def _disagreements(group: Sequence[Card], names: Sequence[str]) -> Iterator[str]:
    """Detectors whose intervals have nothing in common, though base and prompts are the same."""
    for (a, name_a), (b, name_b) in combinations(zip(group, names, strict=True), 2):
        if any(not a.digests.get(part) or a.digests[part] != b.digests.get(part) for part in _SAME):
            continue
        first, second = _by_detector(a), _by_detector(b)
        apart = [_called(key) for key in first if key in second and _are_apart(first[key], second[key])]
        if apart:
            yield f"{name_a} and {name_b} have the same base and prompts, and intervals apart for {', '.join(apart)}."


def _are_apart(a: dict[str, object], b: dict[str, object]) -> bool:
    ends = [value.get(end) for value in (a, b) for end in ("low", "high")]
    if not all(isinstance(end, float | int) for end in ends):
        return False
    low_a, high_a, low_b, high_b = (float(str(end)) for end in ends)
    return high_a < low_b or high_b < low_a


def _table(read: Sequence[Card]) -> pd.DataFrame:
    lines: list[dict[str, object]] = []
    for card in read:
        run = {"by": card.by, "model": card.model, "dataset": card.dataset, "part": card.part, "seed": card.seed}
        run |= {part.replace(" ", "_"): card.digests.get(part, "") for part in _COMPARED}
        for row in card.detectors:
            line: dict[str, object] = {**run, **{name: row[name] for name in ("feature", "score", "setting")}}
            for measure in MEASURES:
                value = row.get(measure) or {}
                line |= {measure: value.get("value"), f"{measure}_low": value.get("low")}
                line[f"{measure}_high"] = value.get("high")
            lines.append(line)
    return pd.DataFrame(lines)
