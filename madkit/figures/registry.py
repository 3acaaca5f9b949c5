"""Families of figures: what one is, how it is registered, and all that there are in the order of the report.

A family is a function from results to named sheets under the decorator `artist`. madkit's are the files in `families/`;
installed packages add theirs by the entry point group ``madkit.figures``, users by ``madkit figures --with FILE``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, NamedTuple

from madkit.errors import ConfigError, MadkitError
from madkit.plugins import describe_failure, import_source, load_entry_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from madkit.figures.results.results import Results
    from madkit.figures.tables.document import Document

SECTIONS = {
    "choice": "Which detector to use",
    "detection": "How well detectors do",
    "comparison": "How detectors compare",
    "stress": "What detectors withstand",
    "quirkiness": "How quirky the models are",
    "explanation": "What explains detection",
    "training": "How the models were trained",
    "perturbation": "Whole models under perturbation",
}
"""The sections of the report, in order, and their titles. A family may name another one, which comes after them."""

BUILT_IN = "madkit.figures.families"
"""The package of madkit's families: every file in it is one."""

ENTRY_POINTS = "madkit.figures"
"""The group of entry points under which an installed package names its modules of families."""


class Sheet(NamedTuple):
    """One thing to write: a figure under a stem, or a text or document under a full file name."""

    name: str
    """A stem such as ``auroc_vs_quirkiness_activations`` for a figure; ``table1.md`` for a text."""
    body: Figure | Document | str | Iterator[str]
    """A matplotlib figure, saved once per format; tables with words; or the text of the file, if long in pieces."""
    model: str | None = None
    """The one model that the sheet is about: only its folders are named as its sources."""
    report_only: bool = False
    """A figure for the report alone, such as the less important detectors of a crowded page."""


Draw = Callable[["Results"], Iterator[Sheet]]


class FigureFamily(NamedTuple):
    """A registered family."""

    name: str
    """The name of its function."""
    draw: Draw
    """Yields nothing when the results lack what it needs."""
    section: str
    """A key of `SECTIONS`, or the title of another section."""
    after: str | None
    """The family that it follows in its section."""

    @property
    def title(self) -> str:
        """The title of its section."""
        return SECTIONS.get(self.section, self.section)

    def sheets(self, results: Results) -> Iterator[Sheet]:
        """What the family draws from `results`.

        Raises:
            ConfigError: its function fails; the message names the function and the line.
        """
        try:
            for sheet in self.draw(results):
                if not isinstance(sheet, Sheet):
                    raise TypeError(f"it yields {type(sheet).__name__}, not madkit.figures.Sheet")
                yield sheet
        except MadkitError:
            raise
        except Exception as error:
            failure = describe_failure(error, inspect.getsourcefile(inspect.unwrap(self.draw)))
            raise ConfigError(f"figure family {self.name}: {failure}; correct it or leave it out") from error


_FAMILIES: dict[str, FigureFamily] = {}
#: What each source of further families registered when it was imported: families, and files that they read.
_SOURCES: dict[str, tuple[dict[str, FigureFamily], set[str]]] = {}
_RESULT_FILES: set[str] = {"detection/results.parquet", "history.parquet"}


def artist(section: str, *, after: str | None = None, reads: tuple[str, ...] = ()) -> Callable[[Draw], Draw]:
    """Register a generator of sheets as a family of figures.

    Args:
        section: the section of the report that its figures are in: a key of `SECTIONS`, or the title of a new one.
        after: the name of the family that it follows in this section; after all others if it is not given.
        reads: further tables that a result folder may hold, such as ``poser/scores.parquet``. A folder that
            has one is a result folder, and `Results.table` reads it.

    Raises:
        ConfigError: another file has registered a family of the same name.
    """

    def register(draw: Draw) -> Draw:
        name = draw.__name__
        other = _FAMILIES.get(name)
        # The same file again is a file that was imported a second time.
        if other is not None and inspect.getsourcefile(other.draw) != inspect.getsourcefile(draw):
            raise ConfigError(
                f"figure family {name} exists already ({inspect.getsourcefile(other.draw)}); choose another name"
            )
        _FAMILIES[name] = FigureFamily(name, draw, section, after)
        _RESULT_FILES.update(reads)
        return draw

    return register


def all_families() -> list[FigureFamily]:
    """Madkit's families, those of installed packages and those that were registered besides, in report order.

    Raises:
        ConfigError: an installed package cannot be imported, or a family follows one that does not exist.
    """
    package = import_module(BUILT_IN)
    for module in sorted(module.name for module in iter_modules(package.__path__)):
        import_module(f"{BUILT_IN}.{module}")
    load_entry_points(ENTRY_POINTS)
    # A file may have been imported before madkit's own.
    return in_report_order(
        sorted(_FAMILIES.values(), key=lambda family: not family.draw.__module__.startswith("madkit."))
    )


@contextmanager
def registered_from(sources: Iterable[Path | str]) -> Iterator[None]:
    """What Python files and modules register, for as long as the block runs.

    Args:
        sources: files, or modules by their dotted names.

    Raises:
        ConfigError: one cannot be imported.
    """
    all_families()  # those stay
    families, files = dict(_FAMILIES), set(_RESULT_FILES)
    try:
        for source in sources:
            known, read = dict(_FAMILIES), set(_RESULT_FILES)
            import_source(source)
            added = {name: family for name, family in _FAMILIES.items() if known.get(name) is not family}
            # A module is imported once only.
            earlier = _SOURCES.get(str(source), ({}, set()))
            _SOURCES[str(source)] = added or earlier[0], (_RESULT_FILES - read) or earlier[1]
            _FAMILIES.update(_SOURCES[str(source)][0])
            _RESULT_FILES.update(_SOURCES[str(source)][1])
        yield
    finally:
        _FAMILIES.clear()
        _FAMILIES.update(families)
        _RESULT_FILES.clear()
        _RESULT_FILES.update(files)


def result_files() -> list[str]:
    """The files, as paths below a folder, by which a folder is known to hold results.

    Raises:
        ConfigError: as `all_families`.
    """
    all_families()
    return sorted(_RESULT_FILES)


def in_report_order(families: Iterable[FigureFamily]) -> list[FigureFamily]:
    """Sort families by section; in a section each one directly after the one it follows, else as registered.

    Raises:
        ConfigError: a family follows one that is not in its section.

    Example:
        >>> draw = lambda results: iter(())
        >>> a, b, c = (FigureFamily(*args) for args in [
        ...     ("a", draw, "training", None), ("b", draw, "detection", "c"), ("c", draw, "detection", None)
        ... ])
        >>> [family.name for family in in_report_order([a, b, c])]
        ['c', 'b', 'a']
    """
    registered = list(families)
    ordered: list[FigureFamily] = []

    def append(family: FigureFamily) -> None:
        ordered.append(family)
        # The latest first, so that a family of the user's own directly follows the one that it names.
        for follower in reversed(registered):
            if follower.section == family.section and follower.after == family.name:
                append(follower)

    for section in dict.fromkeys([*SECTIONS, *(family.section for family in registered)]):
        for family in registered:
            if family.section == section and family.after is None:
                append(family)
    names = {family.name for family in ordered}
    for family in registered:
        if family.name not in names:
            others = ", ".join(other.name for other in ordered if other.section == family.section) or "no family yet"
            raise ConfigError(
                f"figure family {family.name}: after={family.after!r} leads to no family of section "
                f"{family.section!r}, which has {others}"
            )
    return ordered
