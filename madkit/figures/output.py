"""Write figures and texts: complete files only, and the same bytes for the same input."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import madkit
from madkit.figures.drawing.layout import compute_layout, round_layout
from madkit.figures.drawing.page_svg import page_svg
from madkit.figures.drawing.short_svg import short_svg
from madkit.figures.drawing.style import DPI
from madkit.figures.drawing.tooltips import data_points
from madkit.figures.packing import packed
from madkit.figures.registry import Sheet
from madkit.figures.tables.document import Document
from madkit.runs.atomic import write_atomically

SOURCES = "sources.json"
UNITS = 10_000
"""Of a page's width or height, in which the page has the places of data points."""
#: A cell that begins like a formula and is not a plain number.
_MAYBE_FORMULA = re.compile(r'(?:^|[,"\n\r])(?=[=+@\t\r-])(?!-[0-9.]+(?:e[+-]?[0-9]+)?(?:[,"\n\r]|$))')


@dataclass
class RenderedFigure:
    """A figure as the report shows it."""

    name: str
    title: str
    section: str
    model: str | None
    report_only: bool
    packed: str
    """The picture as SVG, and its data points, as text that may stand in a page."""
    width: float
    """Inches."""
    height: float
    folders: list[Path]
    """The run folders it was drawn from."""
    paths: list[Path] = field(default_factory=list)
    """The files written."""


def write_figure(
    sheet: Sheet, section: str, out: Path, formats: Sequence[str], folders: Sequence[Path]
) -> RenderedFigure:
    """Write a figure in every format, and keep a picture for the report.

    Args:
        sheet: the figure.
        section: the title of its section in the report.
        out: where to write; figures for the report only are not written.
        formats: of png, pdf, svg.
        folders: the run folders that it was drawn from, for the metadata.
    """
    figure = sheet.body
    if not isinstance(figure, Figure):
        raise TypeError(f"{sheet.name} is not a figure")
    names = [folder.as_posix() for folder in folders]
    width, height = figure.get_size_inches()
    title = str(figure.get_label()) or sheet.name
    rendered = RenderedFigure(
        sheet.name, title, section, sheet.model, sheet.report_only, "", width, height, list(folders)
    )
    drawn = ("svg", *(() if sheet.report_only else formats))
    contents = _pictures(figure, {name: _metadata(name, sheet.name, names) for name in drawn})
    for name, content in contents.items():
        if name == "svg":
            content = short_svg(content)
            rendered.packed = _for_page(content.decode("utf-8"), data_points(figure))
        if name in formats and not sheet.report_only:
            rendered.paths.append(replace_file(out / f"{sheet.name}.{name}", content))
    return rendered


def _pictures(figure: Figure, formats: Mapping[str, dict[str, Any]]) -> dict[str, bytes]:
    """Draw a figure, once for each format.

    Args:
        figure: whose layout is settled by this.
        formats: metadata by format.
    """
    compute_layout(figure)
    pictures = {}
    # Neither "none", which leaves a placeholder, nor the setting, which brings the layout back: each has every format
    # drawn twice.
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
        round_layout(figure)
        for name, metadata in formats.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, dpi=DPI, metadata=metadata)
            pictures[name] = buffer.getvalue()
    return pictures


def _for_page(svg: str, points: Sequence[tuple[float, float, str]]) -> str:
    """Picture and points, packed: here and not for the report, as figures are drawn side by side.

    Points go by columns, each number as what it is more than the one before, which compresses best; each of their texts
    stands once, as many prompts are in several panels.
    """
    texts = list(dict.fromkeys(text for _, _, text in points))
    index = {text: number for number, text in enumerate(texts)}
    numbers = [(round(x * UNITS), round(y * UNITS), index[text]) for x, y, text in points]
    differences = np.diff(np.array(numbers, dtype=int).reshape(-1, 3), axis=0, prepend=0).T.tolist()
    data = {"svg": page_svg(svg), "points": dict(zip(("x", "y", "text"), differences, strict=True)), "texts": texts}
    return packed(json.dumps(data, separators=(",", ":"), ensure_ascii=False))


def write_text(sheet: Sheet, out: Path, folders: Sequence[Path]) -> Path:
    """Write a text or a document; Markdown and LaTeX name the run folders in a comment, CSV in `sources.json` only."""
    body = sheet.body
    if isinstance(body, Figure):
        raise TypeError(f"{sheet.name} is not a text")
    pieces: Iterable[str]
    pieces = [body.markdown() if isinstance(body, Document) else body] if isinstance(body, Document | str) else body
    origin = "Drawn by " + _version() + " from: " + "; ".join(folder.as_posix() for folder in folders)
    origin = " ".join(origin.splitlines())
    first = f"% {origin}\n" if sheet.name.endswith(".tex") else ""
    last = f"\n<!-- {origin.replace('--', '- -')} -->\n" if sheet.name.endswith(".md") else ""
    if sheet.name.endswith(".csv"):
        pieces = map(_without_formulas, pieces)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(chain([first], pieces, [last]))

    return write_atomically(out / sheet.name, write)


def _without_formulas(text: str) -> str:
    """Lines of CSV none of whose texts a spreadsheet would run: an apostrophe before them is what it hides."""
    if not _MAYBE_FORMULA.search(text):
        return text
    rows = list(csv.reader(io.StringIO(text)))
    if not any(_is_formula(cell) for row in rows for cell in row):
        return text
    safe = io.StringIO()
    writer = csv.writer(safe, lineterminator="\n")
    writer.writerows([f"'{cell}" if _is_formula(cell) else cell for cell in row] for row in rows)
    return safe.getvalue()


def _is_formula(cell: str) -> bool:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def write_sources(out: Path, sources: Mapping[str, Sequence[str]]) -> Path:
    """Write `sources.json`: for each file, the run folders that it came from."""
    content = {"made_by": _version(), "files": {name: list(folders) for name, folders in sorted(sources.items())}}
    return replace_file(out / SOURCES, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def _version() -> str:
    return f"madkit {madkit.__version__}"


def _metadata(format_name: str, title: str, folders: Sequence[str]) -> dict[str, Any]:
    """Title, version and run folders under the names that each format gives them; never a date."""
    origin = "Drawn from: " + "; ".join(folders)
    if format_name == "pdf":
        return {"Title": title, "Subject": origin, "Creator": _version(), "CreationDate": None}
    if format_name == "svg":
        return {"Title": title, "Description": origin, "Creator": _version(), "Date": None}
    return {"Title": title, "Description": origin, "Software": _version()}


def replace_file(path: Path, content: bytes) -> Path:
    """Write a complete file, or leave the old one as it is.

    Raises:
        StoreError: it cannot be written.
    """
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))
