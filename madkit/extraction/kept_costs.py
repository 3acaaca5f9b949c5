"""KeptCosts: what features cost, kept from the moment it is measured until the stage is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from madkit.runs.atomic import write_json
from madkit.runs.cost import Cost
from madkit.store.variant import Variant


class KeptCosts:
    """The costs of features, by variant and key of their store.

    They are in the stage's marker once it is complete, and in a hidden file before.

    Args:
        marker: the file that the stage writes last.
        keys: of the stores of the features that are asked for.
        write: whether this process is the one that writes.
    """

    def __init__(self, marker: Path, keys: Mapping[Variant, str], *, write: bool) -> None:
        self.marker, self.keys, self._write = marker, keys, write
        self._file = marker.with_name(f".{marker.stem}-costs.json")
        self._costs: dict[Variant, Cost] = {}
        for path in (self.marker, self._file):
            self._costs |= self._read(path)

    def reopen(self) -> None:
        """Remove the marker; what it says of these features is kept."""
        if self._write:
            self._save()
            self.marker.unlink(missing_ok=True)

    def __contains__(self, variant: Variant) -> bool:
        return variant in self._costs

    def add(self, variant: Variant, cost: Cost) -> None:
        """Note what a feature costs."""
        self._costs[variant] = cost
        if self._write:
            self._save()

    def rows(self) -> list[dict[str, Any]]:
        """What is known, in the order of the features."""
        return [{**variant._asdict(), **self._costs[variant]} for variant in self.keys if variant in self._costs]

    def close(self) -> None:
        """Remove the hidden file, once the marker holds everything."""
        self._file.unlink(missing_ok=True)

    def _save(self) -> None:
        if self._costs:
            keys = {str(variant): self.keys[variant] for variant in self._costs}
            write_json(self._file, {"features": keys, "cost": self.rows()})

    def _read(self, path: Path) -> dict[Variant, Cost]:
        """The costs of those features whose stores are still the ones that were timed."""
        try:
            content = json.loads(path.read_text())
            found = {Variant(cost.pop("feature"), cost.pop("adapter")): cost for cost in content["cost"]}
            return {v: cost for v, cost in found.items() if content["features"].get(str(v)) == self.keys.get(v)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of costs, nothing else depends
            return {}
