"""Card: what a run is and what it found, as JSON for programs and as Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from madkit.errors import StoreError
from madkit.figures.naming import detector_name, with_setting
from madkit.figures.tables.document import Document
from madkit.runs.plain_files import read_json

FILE = "card.json"
FORMAT = 1
MEASURES = ("auroc", "tpr", "false_alarms", "control", "benign")

Measure = Mapping[str, float | None]
"""A number with its 95% interval: value, low, high; None where there is none."""


@dataclass(frozen=True)
class Card:
    """What a run is, so that another one can be told from it, and each detector's numbers with their intervals."""

    model: str
    dataset: str
    part: str = ""
    """Empty, or what the run is a part of: ``benign`` for a control, ``doses/64``, ``obfuscated/probe``."""
    seed: int = 0
    by: str = ""
    """Who made the run, in their own words."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of each stage, the version and commit of madkit, and what else its recipe names."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of base, adapter, tokenizer, prompts, the results, and what each stage's recipe asks of model and data. They are
    of contents, so that two people who have the same weights have the same digest."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """Which prompts: dataset, quirk, template, seed, sizes of the splits, and the options of the task."""
    quirkiness: Measure = field(default_factory=dict)
    """The coefficient of quirkiness, in nats."""
    detectors: Sequence[Mapping[str, Any]] = ()
    """Of each: feature, score, setting, needs, n_normal, n_anomalous, n_statements, nominal; and measures: auroc, tpr
    (at 1% FPR), false_alarms (of a threshold meant for `nominal`), control (AUROC with the adapter off), benign (AUROC
    on a model without a quirk)."""

    def json(self) -> str:
        """The text of the file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card in a file.

        Raises:
            StoreError: it is no card, or one of another format.
        """
        content = read_json(path, "run `madkit card` again")
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise StoreError(f"{path} is no card of format {FORMAT}: run `madkit card` of this version on its run")
        unknown = content.keys() - cls.__dataclass_fields__.keys()
        texts = [content.get(name) for name in ("model", "dataset", "part", "by")]
        tables = [content.get(name) for name in ("versions", "digests", "prompts", "quirkiness")]
        whole = all(isinstance(text, str) for text in texts) and all(isinstance(table, dict) for table in tables)
        if unknown or not whole or not _are_detectors(content.get("detectors")) or not _is_measure(tables[3]):
            raise StoreError(f"{path} is damaged: run `madkit card` on its run again")
        return cls(**content)

    @property
    def title(self) -> str:
        """What it is about, in a few words."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.model} / {self.dataset}" + (f" ({self.part})" if self.part else "") + seed

    def document(self) -> Document:
        """Title, table of detectors and what made them."""
        head = ["detector", "needs", "AUROC", "TPR at 1% FPR", "false alarms", "adapter off", "benign"]
        rows = [
            [
                with_setting(detector_name(row["feature"], row["score"]), row["setting"]),
                row.get("needs") or "-",
                *(shown(row.get(name)) for name in MEASURES),
            ]
            for row in sorted(self.detectors, key=lambda row: -((row.get("auroc") or {}).get("value") or 0.0))
        ]
        first = self.detectors[0] if self.detectors else {}
        sizes = ", ".join(f"{count} {split}" for split, count in dict(self.prompts.get("sizes") or {}).items())
        nominal = first.get("nominal")
        intro = (
            f"{first.get('n_anomalous', '?')} anomalous and {first.get('n_normal', '?')} normal test prompts about "
            f"{first.get('n_statements', '?')} statements; {sizes or 'splits not named'}. Quirkiness "
            f"{shown(self.quirkiness)}. Each number: value [95% interval]."
        )
        notes = [
            f"*False alarms*: of normal test prompts, with a threshold meant for {nominal:.0%}."
            if isinstance(nominal, float)
            else "*False alarms*: not measured.",
            "*Adapter off* and *benign*: the AUROC where there is no quirk to find. It has to be near 0.5.",
            *(f"{name}: `{value}`" for name, value in sorted(self.digests.items())),
            *(f"{name}: {value}" for name, value in sorted(self.versions.items())),
        ]
        by = f", by {self.by}" if self.by else ""
        return Document(f"Result card: {self.title}{by}", intro, {"Detectors": (head, rows)}, notes)

    def markdown(self) -> str:
        """The card for people."""
        return self.document().markdown()


def shown(measure: Measure | None) -> str:
    """A number with its interval.

    Example:
        >>> shown({"value": 0.9, "low": 0.8, "high": 0.95}), shown(None), shown({"value": 1.0, "low": None})
        ('0.900 [0.800, 0.950]', '-', '1.000')
    """
    if not measure or measure.get("value") is None:
        return "-"
    low, high = measure.get("low"), measure.get("high")
    return f"{measure['value']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _are_detectors(rows: Any) -> bool:
    names = ("feature", "score", "setting")
    return isinstance(rows, list) and all(
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in names)
        and all(_is_measure(row.get(name)) for name in MEASURES)
        for row in rows
    )


def _is_measure(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(v is None or isinstance(v, int | float) for v in value.values())
    )
