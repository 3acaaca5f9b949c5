"""Write figures and texts: complete files only, and the same bytes for the same input."""

import csv
import gzip
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike

import madkit
from madkit.figures.drawing.tooltips import data_points
from madkit.figures.registry import Sheet
from madkit.figures.tables.document import Document
from madkit.runs.atomic import write_atomically

DPI = 200
SOURCES = "sources.json"
_HASHES = re.compile(rb"(?<=[\"#])[a-z][0-9a-f]{10}(?=[\")])")
_COORDINATES = re.compile(rb' (?:d|x|y|cx|cy|r|width|height|points|viewBox)="[^"]*"|(?:translate|rotate)\([^)]*\)')
_DECIMALS = re.compile(rb"-?\d*\.\d{3,}")


@dataclass
class RenderedFigure:
    """A figure as the report shows it."""

    name: str
    title: str
    section: str
    model: str | None
    report_only: bool
    svg: bytes
    """The picture, compressed by gzip."""
    width: float
    """Inches."""
    height: float
    points: list[tuple[float, float, str]]
    """The result of `madkit.figures.drawing.tooltips.data_points`."""
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
        sheet.name, title, section, sheet.model, sheet.report_only, b"", width, height, [], list(folders)
    )
    _lay_out(figure)
    for name in dict.fromkeys(["svg", *formats]):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=name, dpi=DPI, metadata=_metadata(name, sheet.name, names))
        content = buffer.getvalue()
        if name == "svg":
            content = _shortened(_with_counted_identifiers(content))
            rendered.svg = gzip.compress(content, mtime=0)
            rendered.points = data_points(figure)
        if name in formats and not sheet.report_only:
            rendered.paths.append(replace_file(out / f"{sheet.name}.{name}", content))
    return rendered


def _lay_out(figure: Figure) -> None:
    """Compute the layout once for all formats, which is half the time, to a millionth of the figure.

    Its solver goes through its variables by their addresses in memory, and so the last digits vary from run to run.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _round_positions(figure)


def _round_positions(part: Figure | SubFigure) -> None:
    """Round where its subfigures, axes and texts lie; the layout has placed all three."""
    for inner in part.subfigs:
        box = inner.bbox_relative
        box.p0, box.p1 = _rounded(box.p0), _rounded(box.p1)
        _round_positions(inner)
    for axes in part.axes:
        if axes.figure is part:
            left, bottom, width, height = _rounded(axes.get_position(original=True).bounds)
            axes.set_position((left, bottom, width, height))
    for text in part.texts:
        text.set_position(_rounded(text.get_position()))


def _rounded(shares: ArrayLike) -> Any:
    # A share such as 0.0109375 lies in the middle of two. Rounded a little beside the middle, it goes one way.
    return np.round(np.asarray(shares, dtype=float) + 1.3e-7, 6)


def _with_counted_identifiers(svg: bytes) -> bytes:
    """The same picture with its identifiers numbered.

    Those of matplotlib are hashes of coordinates to the last bit, which varies with what was drawn before.
    """
    names: dict[bytes, bytes] = {}
    return _HASHES.sub(lambda match: names.setdefault(match.group(), b"%b%d" % (match.group()[:1], len(names))), svg)


def _shortened(svg: bytes) -> bytes:
    """The same picture with coordinates to a hundredth of a point: digits are most of the file, and the last ones vary.

    Only coordinates: a scale of 0.015625, by which matplotlib makes letters of their outlines, needs all its digits.
    """
    return _COORDINATES.sub(lambda match: _DECIMALS.sub(_hundredth, match.group()), svg)


def _hundredth(match: re.Match[bytes]) -> bytes:
    # Coordinates like to lie on halves, quarters and eighths of a point. Rounded a little beside the middle, they go
    # one way whatever their last digits are.
    return (b"%.2f" % (float(match.group()) + 1.3e-4)).rstrip(b"0").rstrip(b".")


def write_text(sheet: Sheet, out: Path, folders: Sequence[Path]) -> Path:
    """Write a text or a document; Markdown and LaTeX name the run folders in a comment, CSV in `sources.json` only."""
    text = sheet.body.markdown() if isinstance(sheet.body, Document) else str(sheet.body)
    origin = "Drawn by " + _version() + " from: " + "; ".join(folder.as_posix() for folder in folders)
    origin = " ".join(origin.splitlines())
    if sheet.name.endswith(".csv"):
        text = _without_formulas(text)
    elif sheet.name.endswith(".md"):
        text += f"\n<!-- {origin.replace('--', '- -')} -->\n"
    elif sheet.name.endswith(".tex"):
        text = f"% {origin}\n{text}"
    return replace_file(out / sheet.name, text.encode("utf-8"))


def _without_formulas(text: str) -> str:
    """A CSV table none of whose texts a spreadsheet would run: an apostrophe before them is what it hides."""
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
