"""`madkit card`: a result card of each run, for people and for programs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from madkit.errors import StoreError
from madkit.figures.cards import Card, card_of, missing, outdated
from madkit.figures.cards.card import FILE
from madkit.runs.atomic import write_atomically


def card(runs: list[str], by: str = "", out: str | None = None, check: bool = False) -> int:
    """Write card.json and card.md beside the results of each run, and say what a card lacks.

    Args:
        runs: Folders that are searched for results; with --check also cards of others, or folders with some.
        by: Who made the runs, as it should stand in the card.
        out: A folder for the cards, in MODEL/DATASET; by default they lie in the run folders.
        check: Write nothing; read the cards that are there, and end with status 1 where one lacks something, or
            no longer says what is in its run.
    """
    if check:
        return _check([Path(run) for run in runs])
    folders = _found(runs, "detection/results.parquet", "madkit test")
    for path in folders:
        run = path.parents[1]
        written = card_of(run, by)
        folder = run if out is None else Path(out).joinpath(*_place(written))
        texts = {FILE: written.json(), "card.md": written.markdown()}
        for name, text in texts.items():
            write_atomically(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
        print(folder / "card.md")
        _say(folder / FILE, missing(written))
    return 0


def _check(runs: list[Path]) -> int:
    complaints = 0
    for path in _found(list(map(str, runs)), FILE, "madkit card"):
        read = Card.read(path)
        lacks = missing(read)
        if (path.parent / "detection" / "results.parquet").is_file() and (old := outdated(read, card_of(path.parent))):
            lacks.append(f"what the run is now ({', '.join(old)}): run `madkit card` again")
        _say(path, lacks)
        complaints += bool(lacks)
        if not lacks:
            print(f"{path}: complete")
    return 1 if complaints else 0


def _found(runs: list[str], file: str, command: str) -> list[Path]:
    """The files of that path at or below folders, or that are named themselves; each once."""
    paths: dict[Path, Path] = {}
    for run in map(Path, runs):
        matches = [run] if run.is_file() and run.match(file) else sorted(run.rglob(file))
        if not matches:
            raise StoreError(f"runs={str(run)!r}: there is no {file} at or below it; run `{command}` first")
        paths |= {match.resolve(): match for match in matches}
    return list(paths.values())


def _place(card: Card) -> tuple[str, ...]:
    model = f"{card.model}@{card.seed}" if card.seed else card.model
    return (model, *filter(None, card.part.split("/")), card.dataset)


def _say(path: Path, lacks: list[str]) -> None:
    for line in lacks:
        print(f"{path} lacks {line}", file=sys.stderr)
