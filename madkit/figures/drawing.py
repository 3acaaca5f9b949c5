"""Find the results, let every family draw what they allow, write the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from madkit.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from madkit.figures.registry import Sheet

FORMATS = ("png", "pdf", "svg")


def draw(
    runs: Sequence[Path | str],
    out: Path | str,
    formats: Sequence[str] = ("png", "pdf"),
    progress: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Draw every figure and table that the result folders allow.

    Args:
        runs: folders searched, at any depth, for ``detection/results.parquet`` and ``history.parquet``;
            any number of models and datasets. What a folder lacks is left out, the rest is drawn.
        out: the folder to write to; made if it is not there. Each file is written whole or not at all.
        formats: of ``"png"`` (200 dpi), ``"pdf"`` and ``"svg"``. Tables are always Markdown and CSV.
        progress: called with each path once it is written.

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
    from madkit.figures import output, style
    from madkit.figures.catalogue import ARTISTS
    from madkit.figures.results import load

    results = load([Path(folder) for folder in runs])
    written: list[Path] = []
    with style.applied():
        for sheet in _tables_last(draw_family(results) for draw_family in ARTISTS):
            for path in output.write(sheet, Path(out), formats, results.folders):
                written.append(path)
                if progress is not None:
                    progress(path)
    if not written:
        raise StoreError(f"runs={', '.join(map(str, runs))}: the results found are empty; run `madkit test` again.")
    return written


def _tables_last(families: Iterable[Iterator[Sheet]]) -> Iterator[Sheet]:
    """Figures as they are drawn, then the texts: a build that finds the tables knows that all is drawn."""
    texts = []
    for sheet in chain.from_iterable(families):
        if isinstance(sheet.body, str):
            texts.append(sheet)
        else:
            yield sheet
    yield from texts
