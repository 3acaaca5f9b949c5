"""Find the results, let every family draw what they allow, write the files."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from madkit.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from madkit.figures.output import Drawn
    from madkit.figures.registry import Sheet
    from madkit.figures.results.results import Results

FORMATS = ("png", "pdf", "svg")


def draw(
    runs: Sequence[Path | str],
    out: Path | str,
    formats: Sequence[str] = ("png", "pdf"),
    progress: Callable[[Path], None] | None = None,
    jobs: int = 1,
) -> list[Path]:
    """Draw every figure and table that the result folders allow.

    Args:
        runs: folders searched, at any depth, for ``detection/results.parquet``, ``history.parquet`` and what
            families of figures read besides; any number of models and datasets. What a folder lacks is left out, the
            rest is drawn.
        out: the folder to write to; made if it is not there. Each file is written whole or not at all.
        formats: of ``"png"`` (200 dpi), ``"pdf"`` and ``"svg"``. Tables are always Markdown and CSV, Table 1 also
            LaTeX; ``report.html`` holds everything, and ``sources.json`` names the folders behind each file.
        progress: called with each path once it is written.
        jobs: families of figures drawn side by side, by processes that are forked where the system can.

    Returns:
        The files written, in order. The same results give the same bytes.

    Raises:
        ConfigError: an unknown format.
        StoreError: no result folder found or only empty ones, a damaged file or one with another schema, two
            folders that hold the same model and dataset, or an `out` that cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats={tuple(formats)!r}: choose one or more of {', '.join(FORMATS)}.")
    # Here and not above, so that `import madkit.figures` does not wait for pandas and matplotlib.
    from madkit.figures import output
    from madkit.figures.catalogue import ARTISTS
    from madkit.figures.html import write_report
    from madkit.figures.registry import MARKERS
    from madkit.figures.results.results import load

    results = load([Path(folder) for folder in runs], sorted(MARKERS))
    out = Path(out)
    written: list[Path] = []
    sources: dict[str, list[str]] = {}
    figures: list[Drawn] = []
    texts: list[tuple[str, Sheet]] = []

    def note(path: Path, folders: Sequence[str]) -> None:
        written.append(path)
        sources[path.name] = list(folders)
        if progress is not None:
            progress(path)

    draw_one = partial(_draw_family, results=results, out=out, formats=tuple(formats))
    for drawn, more in _side_by_side(draw_one, len(ARTISTS), jobs):
        for figure in drawn:
            for path in figure.paths:
                note(path, figure.folders)
        figures += drawn
        texts += more
    if not figures and not texts:
        raise StoreError(f"runs={', '.join(map(str, runs))}: the results found are empty; run `madkit test` again.")
    everything = [folder.as_posix() for folder in results.folders_of(None)]
    note(write_report(out / "report.html", results, figures, texts), everything)
    # Table 1 comes last: a build that finds it knows that all is drawn.
    last = sorted(texts, key=lambda pair: pair[1].name.startswith("table1"))
    named = sources | {sheet.name: everything for _, sheet in last}
    note(output.write_sources(out, named), everything)
    for _, sheet in last:
        note(output.write_text(sheet, out, results.folders_of(None)), everything)
    return written


def _draw_family(
    index: int, results: Results, out: Path, formats: Sequence[str]
) -> tuple[list[Drawn], list[tuple[str, Sheet]]]:
    """Draw and write the figures of one family; texts are handed back with the family's section."""
    from matplotlib.figure import Figure

    from madkit.figures.catalogue import ARTISTS
    from madkit.figures.drawing import style
    from madkit.figures.output import write_figure

    family = ARTISTS[index]
    figures, texts = [], []
    with style.applied():
        for sheet in family.draw(results):
            if isinstance(sheet.body, Figure):
                folders = results.folders_of(sheet.model)
                figures.append(write_figure(sheet, family.section, out, formats, folders))
            else:
                texts.append((family.section, sheet))
    return figures, texts


def _side_by_side(
    draw_one: Callable[[int], tuple[list[Drawn], list[tuple[str, Sheet]]]], number: int, jobs: int
) -> Iterator[tuple[list[Drawn], list[tuple[str, Sheet]]]]:
    """What each family gives, in order."""
    if jobs < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(draw_one, range(number))
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        yield from pool.map(draw_one, range(number))
