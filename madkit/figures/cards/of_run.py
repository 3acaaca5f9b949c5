"""The card of a run folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from madkit.errors import StoreError
from madkit.figures.cards.card import Card
from madkit.figures.html.origin import versions_of
from madkit.figures.results.loading import load_results
from madkit.figures.results.reading import read_run
from madkit.figures.results.results import OWN_ANSWER
from madkit.runs.file_digest import file_digest
from madkit.runs.plain_files import read_json, read_yaml
from madkit.runs.run_name import BENIGN, RunName

#: Columns of the results, by what the card calls them.
_MEASURES = {
    "auroc": ("auroc", "low", "high"),
    "tpr": ("tpr", "tpr_low", "tpr_high"),
    "false_alarms": ("false_alarms", "false_alarms_low", "false_alarms_high"),
}
_COUNTS = ("n_normal", "n_anomalous", "n_statements")
#: Options whose values are paths of this machine; what lies there is known by its own digest.
_PATHS = ("base", "adapter", "run", "store")


def card_of(run: Path, by: str = "") -> Card:
    """The card of a run that `madkit test` has judged.

    Args:
        run: its folder.
        by: who made it.

    Raises:
        StoreError: there are no results, or they cannot be read.
    """
    summary_file = run / "detection" / "summary.json"
    if not (run / "detection" / "results.parquet").is_file() or not summary_file.is_file():
        raise StoreError(f"run={str(run)!r} has no results: run `madkit test` on it first")
    name, _ = read_run(run)
    summary = read_json(summary_file, "run `madkit test` again")
    identity = summary.get("identity") or {}
    prompts = {key: value for key, value in (identity.get("prompts") or {}).items() if key != "shard_size"}
    recipes = {stage: run / f"{stage}.yaml" for stage in ("fit", "predict", "test")}
    versions = versions_of(run, {stage: path for stage, path in recipes.items() if path.is_file()})
    digests = {part: str(identity[part]) for part in ("base", "adapter", "tokenizer") if identity.get(part)}
    digests |= {"prompts": _digest(prompts)} if prompts else {}
    digests |= {f"{stage} recipe": _asked(path) for stage, path in recipes.items() if path.is_file()}
    digests["results"] = file_digest(run / "detection" / "results.parquet")
    quirkiness = {key: None if pd.isna(value) else value for key, value in (summary.get("quirkiness") or {}).items()}
    return Card(
        model=name.model, dataset=name.dataset, part=_part(name), seed=name.seed, by=by, versions=versions,
        digests=digests, prompts=_plain(prompts), quirkiness=quirkiness,
        detectors=_detectors(run),
    )  # fmt: skip


def _part(name: RunName) -> str:
    """What lies between the folders of model and dataset, without the number of steps' zeros."""
    which = name.variant or ("" if name.step is None else str(name.step))
    return f"{name.part}/{which}" if which else name.part


def _asked(recipe: Path) -> str:
    """The digest of what a resolved recipe asks of model, data and seed; not of the machine that it ran on."""
    content = read_yaml(recipe, error=StoreError) or {}
    return _digest({key: _without_paths(content.get(key)) for key in ("model", "data", "seed_everything")})


def _digest(value: Any) -> str:
    # As `madkit.runs.fingerprints.digest`, whose module knows weights, which figures do not.
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(part) for key, part in value.items() if key not in _PATHS}
    return [_without_paths(part) for part in value] if isinstance(value, list) else value


def _detectors(run: Path) -> list[dict[str, Any]]:
    rows = _representative(run)
    key = ["feature", "score", "setting"]
    off = rows[rows["control"]].set_index(key)
    control = run.parent / BENIGN / run.name
    benign = _representative(control) if (control / "detection" / "results.parquet").is_file() else rows.iloc[:0]
    benign = benign[~benign["control"]].set_index(key)
    return [
        {
            **{name: str(row[name]) for name in (*key, "needs")},
            **{name: int(row[name]) for name in _COUNTS},
            **{name: _measure(row, columns) for name, columns in _MEASURES.items()},
            "nominal": _number(row.get("nominal")),
            "control": _found(off, tuple(row[name] for name in key)),
            "benign": _found(benign, tuple(row[name] for name in key)),
        }
        for row in rows[~rows["control"]].to_dict("records")
    ]


def _representative(run: Path) -> pd.DataFrame:
    """The rows that stand for a detector, over all test prompts, without the ceiling and the answer alone."""
    results = load_results([run])
    parts = [results.benign, *results.doses.values(), *results.obfuscated.values()]  # this is one of them, or none
    rows = next((part for part in parts if part is not None), results).aggregated()
    return rows[(rows["subset"] == "all") & ~rows["setting"].isin(["ceiling", OWN_ANSWER])]


def _found(rows: pd.DataFrame, key: tuple[str, ...]) -> dict[str, float | None] | None:
    return _measure(rows.loc[[key]].iloc[0].to_dict(), _MEASURES["auroc"]) if key in rows.index else None


def _measure(row: Mapping[Any, Any], columns: tuple[str, str, str]) -> dict[str, float | None] | None:
    value, low, high = (_number(row.get(column)) for column in columns)
    return None if value is None else {"value": value, "low": low, "high": high}


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else round(float(value), 6)


def _plain(value: Any) -> Any:
    """Values as they are, but for paths of this machine, of which the last part says enough."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, str) and re.match(r"[/~]|[A-Za-z]:\\", value):
        return Path(value).name
    return value
