"""Run folders are searched for results, and these are put together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from madkit.errors import StoreError
from madkit.figures.results.reading import HELD, read_run
from madkit.figures.results.results import OWN_ANSWER, Results, empty_table
from madkit.runs.run_name import BENIGN, DOSES, OBFUSCATED, RunName

STANDARD_FILES = ("detection/results.parquet", "history.parquet")


def load_results(folders: Sequence[Path], files: Collection[str] = STANDARD_FILES) -> Results:
    """Read every run folder at or below `folders`. Tables that a folder lacks are left out.

    Args:
        folders: searched at any depth.
        files: a folder that has one of these is a run folder.

    Raises:
        StoreError: no run folder, an unreadable file, a missing column, or two folders with the same model, seed
            and dataset (or, of controls and doses, two of the same).
    """
    found: dict[int, dict[_Part, dict[tuple[str, str], _Run]]] = {}
    cards = {path.resolve(): path for folder in folders for path in sorted(folder.rglob("card.json"))}
    for folder in _run_folders(folders, files, required=not cards):
        name, tables = read_run(folder)
        further = [file for file in files if file not in STANDARD_FILES and (folder / file).is_file()]
        if not tables and not further:
            continue
        if not tables:  # such as runs/tiny-poser/poser, which is about all models of the folder above
            name = RunName(folder.resolve().name, further[0].partition("/")[0])
        if name.part and "detection" not in tables:
            continue  # what a control or a dose is there for has not been done yet
        part = found.setdefault(name.seed, {}).setdefault((name.part, name.step, name.variant), {})
        pair = name.model, name.dataset
        if pair in part:
            raise StoreError(
                f"runs: {part[pair].folder} and {folder} both hold model={pair[0]!r}, dataset={pair[1]!r}; "
                "name only one of them."
            )
        part[pair] = _Run(folder, tables)
    first, *others = sorted(found) or [0]
    seeds = {seed: _of_seed(found[seed]) for seed in others}
    own = _of_seed(found.get(first, {}))
    return replace(own, first_seed=first, seeds=seeds, cards=tuple(cards.values()))


_Part: TypeAlias = tuple[str, int | None, str]
"""Part, step and variant of a run's name."""
_RUN: _Part = ("", None, "")
"""The run itself."""


def _of_seed(found: Mapping[_Part, Mapping[tuple[str, str], "_Run"]]) -> Results:
    """The results of the runs of one seed, by part, step and variant."""
    joined = {key: _joined(found.get(key, {})) for key in {_RUN, *found}}
    steps = sorted(step for part, step, _ in joined if part == DOSES and step is not None)
    variants = sorted(variant for part, _, variant in joined if part == OBFUSCATED)
    return replace(
        joined[_RUN],
        benign=joined.get((BENIGN, None, "")),
        doses={step: joined[DOSES, step, ""] for step in steps},
        obfuscated={variant: joined[OBFUSCATED, None, variant] for variant in variants},
    )


class _Run(NamedTuple):
    folder: Path
    tables: dict[str, pd.DataFrame]


def _joined(runs: Mapping[tuple[str, str], _Run]) -> Results:
    """The tables of some runs, one under the other."""
    parts = {name: [run.tables[name] for run in runs.values() if name in run.tables] for name in HELD}
    joined: dict[str, Any] = {
        name: pd.concat(tables, ignore_index=True) if tables else empty_table(name) for name, tables in parts.items()
    }
    own = joined["detection"]["setting"] == OWN_ANSWER
    joined["own_answer"], joined["detection"] = joined["detection"][own], joined["detection"][~own]
    folders = {pair: run.folder for pair, run in runs.items()}
    return Results(folders=tuple(folders.values()), run_folders=folders, **joined)


def _run_folders(folders: Sequence[Path], files: Collection[str], *, required: bool) -> list[Path]:
    runs: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise StoreError(f"runs={folder}: no such folder; name a run folder or a folder of run folders.")
        matches = [path.parents[file.count("/")] for file in files for path in folder.rglob(file)]
        if folder.name == "detection" and (folder / "results.parquet").is_file():
            matches.append(folder.parent)
        # One folder named twice, or through a link, is one run.
        runs.update({match.resolve(): match for match in sorted(matches)})
    if not runs and required:
        named = ", ".join(map(str, folders)) or "nothing"
        raise StoreError(
            f"runs={named}: no detection/results.parquet or history.parquet below; run `madkit test` first."
        )
    return sorted(runs.values())
