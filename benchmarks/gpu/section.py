"""What a section of the benchmarks is, and what its parts are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Settings(NamedTuple):
    """What a part is told."""

    reduced: bool
    """At a size that a CPU has done in a moment, and whose numbers mean nothing."""
    folder: Path
    """Where the part may leave files; they stay."""
    seconds: float
    """After so many its process is ended."""


Facts = dict[str, Any]
Part = Callable[[Settings], Facts]


class Row(NamedTuple):
    """A line of the table, in words."""

    benchmark: str
    measured: str
    alternative: str = ""
    ratio: str = ""


@dataclass(frozen=True)
class Section:
    """Measurements that belong together.

    A process does its parts one after another and writes down each, so that one that fails, or is ended, leaves
    those before it, and one that runs out of the card's memory those after it too.
    """

    name: str
    processes: Mapping[str, Mapping[str, Part]]
    """By name of the process, its parts by name; names of parts are unique in a section."""
    rows: Callable[[dict[str, Facts]], list[Row]]
    """The lines of the table, of those parts that were done."""
    seconds: int
    """What a process gets at most."""
    together: bool = False
    """Whether its processes run side by side."""
    needs: tuple[str, ...] = ()
    """Packages, by the name they are imported by, besides what madkit needs."""
    sources: tuple[str, ...] = ()
    """Files and folders beside madkit/ from which the numbers come, relative to the project."""

    @property
    def parts(self) -> list[str]:
        """The names of all parts."""
        return [part for parts in self.processes.values() for part in parts]
