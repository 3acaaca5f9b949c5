"""Find the results, let every family draw what they allow, write the files."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from madkit.errors import ConfigError, StoreError
from madkit.figures.registry import FigureFamily, Sheet, all_families, registered_from, result_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from madkit.figures.output import RenderedFigure
    from madkit.figures.results.results import Results

    _Drawn = tuple[list[RenderedFigure], list[Sheet], list[Path]]

FORMATS = ("png", "pdf", "svg")


def draw(
    runs: Sequence[Path | str],
    out: Path | str,
    formats: Sequence[str] = ("png", "pdf"),
    progress: Callable[[Path], None] | None = None,
    jobs: int = 1,
    further: Sequence[Path | str] = (),
) -> list[Path]:
    """Draw every figure and table that the result folders allow.

    Args:
        runs: folders searched, at any depth, for ``detection/results.parquet``, ``history.parquet`` and what
            families of figures read besides; any number of models and datasets. What a folder lacks is left out, the
            rest is drawn.
        out: the folder to write to, created if it does not exist. A file is written completely or not at all.
        formats: of ``"png"`` (200 dpi), ``"pdf"`` and ``"svg"``. Tables are always Markdown and CSV, Table 1 also
            LaTeX; ``report.html`` holds everything, and ``sources.json`` names the folders behind each file.
        progress: called with each path once it is written.
        jobs: families of figures drawn side by side, by processes that are forked where the system can.
        further: Python files, or modules by their dotted names, that hold figures of your own. They are imported,
            and what `madkit.figures.artist` registers in them is drawn with the rest, in this call.

    Returns:
        The files written, in order. The same results give the same bytes.

    Raises:
        ConfigError: an unknown format, a file of `further` that cannot be imported, a figure whose function fails, or
            two figures of the same name.
        StoreError: no result folder or only empty ones, a damaged file or one with another schema, two
            folders that hold the same model and dataset, or an `out` that cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats={tuple(formats)!r}: choose one or more of {', '.join(FORMATS)}.")
    with registered_from(further):
        return _draw_all(runs, Path(out), formats, progress, jobs)


def _draw_all(
    runs: Sequence[Path | str],
    out: Path,
    formats: Sequence[str],
    progress: Callable[[Path], None] | None,
    jobs: int,
) -> list[Path]:
    """Draw what all registered families make of the results."""
    # Here and not above, so that `import madkit.figures` does not wait for pandas and matplotlib.
    from madkit.figures.html import write_report
    from madkit.figures.output import write_sources, write_text
    from madkit.figures.results.loading import load_results

    families = all_families()
    results = load_results([Path(folder) for folder in runs], result_files())
    written: dict[str, _Written] = {}

    def note(path: Path, folders: Sequence[Path], family: str) -> None:
        if path.name in written:
            raise ConfigError(
                f"figure family {family}: {path.name} is also drawn by {written[path.name].family}; "
                "give the sheet another name."
            )
        written[path.name] = _Written(path, [folder.as_posix() for folder in folders], family)
        if progress is not None:
            progress(path)

    figures: list[RenderedFigure] = []
    texts: list[tuple[FigureFamily, Sheet]] = []
    draw_one = partial(_draw_family, results=results, out=out, formats=tuple(formats))
    everything = results.everything
    for family, (rendered, sheets, paths) in zip(families, _side_by_side(draw_one, len(families), jobs), strict=True):
        for figure in rendered:
            for path in figure.paths:
                note(path, figure.folders, family.name)
        for path in paths:
            note(path, everything, family.name)
        figures += rendered
        texts += [(family, sheet) for sheet in sheets]
    if not (figures or texts or written):
        raise StoreError(f"runs={', '.join(map(str, runs))}: the results there are empty; run `madkit test` again.")
    titled = [(family.title, sheet) for family, sheet in texts]
    note(write_report(out / "report.html", results, figures, titled), everything, "the report")
    sources = {name: file.folders for name, file in written.items()}
    sources |= {sheet.name: [folder.as_posix() for folder in everything] for _, sheet in texts}
    note(write_sources(out, sources), everything, "the report")
    # Table 1 comes last: a build that sees it knows that everything is drawn.
    for family, sheet in sorted(texts, key=lambda pair: pair[1].name.startswith("table1.")):
        note(write_text(sheet, out, everything), everything, family.name)
    return [file.path for file in written.values()]


class _Written(NamedTuple):
    path: Path
    folders: list[str]
    family: str


def figures_of_run(folder: Path, families: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """The figures of one run by some families, with names that do not repeat the model's.

    Args:
        folder: the run folder.
        families: such as ``["auroc_layers"]``.
    """
    from matplotlib.figure import Figure

    from madkit.figures.drawing import style
    from madkit.figures.results.loading import load_results

    results = load_results([folder])
    with style.applied():
        for family in all_families():
            for sheet in family.sheets(results) if family.name in families else ():
                if isinstance(sheet.body, Figure) and not sheet.report_only:
                    yield sheet.name.removesuffix(f"_{results.slug(sheet.model or '')}"), sheet.body


def _draw_family(index: int, results: Results, out: Path, formats: Sequence[str]) -> _Drawn:
    """Draw and write the figures of one family, and its long texts; the others are returned."""
    from matplotlib.figure import Figure

    from madkit.figures.drawing import style
    from madkit.figures.output import write_figure, write_text
    from madkit.figures.tables.document import Document

    family = all_families()[index]
    figures, texts, paths = [], [], []
    with style.applied():
        for sheet in family.sheets(results):
            if isinstance(sheet.body, Figure):
                folders = results.folders_of(sheet.model)
                figures.append(write_figure(sheet, family.title, out, formats, folders))
            elif isinstance(sheet.body, Document | str):
                texts.append(sheet)
            else:
                paths.append(write_text(sheet, out, results.everything))
    return figures, texts, paths


def _side_by_side(draw_one: Callable[[int], _Drawn], number: int, jobs: int) -> Iterator[_Drawn]:
    """What each family draws, in order."""
    if jobs < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(draw_one, range(number))
        return
    context = multiprocessing.get_context("fork")
    gc.freeze()  # what they inherit stays, and need not be looked through again and again
    # What forked processes inherit need not be sent to each: the tables of all runs.
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(os.getpid(), draw_one))
    try:
        yield from pool.map(_draw_inherited, range(number))
    except BaseException:  # an interruption does not wait until they have drawn
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


_SELDOM = 200_000
"""New objects after which the garbage collector looks for some that nobody needs any more."""
_inherited: list[Callable[[int], _Drawn]] = []
"""Of a forked process: what draws a family."""


def _draw_inherited(index: int) -> _Drawn:
    return _inherited[0](index)


def _start(parent: int, draw_one: Callable[[int], _Drawn]) -> None:
    """End this process when its parent is gone, which a killed one could not ask it to; and keep what draws."""
    _inherited[:] = [draw_one]
    # Figures are made of many objects that are gone together: by default a twelfth of the time goes into looking.
    gc.set_threshold(_SELDOM, 10, 10)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
