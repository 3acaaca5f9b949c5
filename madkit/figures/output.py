"""Write figures and texts: whole files only, and the same bytes for the same input."""

import gzip
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import madkit
from madkit.errors import StoreError
from madkit.figures.drawing import tooltips
from madkit.figures.registry import Sheet
from madkit.figures.tables.document import Document
from madkit.runs.atomic import write_atomically

DPI = 200
SOURCES = "sources.json"
_HASHES = re.compile(rb"(?<=[\"#])[a-z][0-9a-f]{10}(?=[\")])")
_PLACES = re.compile(rb' (?:d|x|y)="[^"]*"')
_DECIMALS = re.compile(rb"(?<=\.\d\d)\d+")


@dataclass
class Drawn:
    """A figure as the report shows it."""

    name: str
    title: str
    section: str
    model: str | None
    aside: bool
    svg: bytes
    """The picture, compressed by gzip."""
    width: float
    """Inches."""
    height: float
    points: list[tuple[float, float, str]]
    """What `madkit.figures.drawing.tooltips.points` found."""
    folders: list[str]
    """The run folders it was drawn from."""
    paths: list[Path] = field(default_factory=list)
    """The files written."""


def write_figure(sheet: Sheet, section: str, out: Path, formats: Sequence[str], folders: Sequence[Path]) -> Drawn:
    """Write a figure in every format, and keep a picture for the report.

    Args:
        sheet: the figure.
        section: the part of the report that it stands in.
        out: where to write; figures that are aside are not written.
        formats: of png, pdf, svg.
        folders: the run folders that it was drawn from, for the metadata.
    """
    figure = sheet.body
    if not isinstance(figure, Figure):
        raise TypeError(f"{sheet.name} is not a figure")
    names = [folder.as_posix() for folder in folders]
    width, height = figure.get_size_inches()
    title = str(figure.get_label()) or sheet.name
    drawn = Drawn(sheet.name, title, section, sheet.model, sheet.aside, b"", width, height, [], names)
    for name in dict.fromkeys(["svg", *formats]):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=name, dpi=DPI, metadata=_metadata(name, sheet.name, names))
        # The layout holds for the other formats too, and finding it is half the time.
        figure.set_layout_engine("none")
        content = _counted(buffer.getvalue()) if name == "svg" else buffer.getvalue()
        if name == "svg":
            drawn.svg = gzip.compress(_shortened(content), mtime=0)
            drawn.points = tooltips.points(figure)
        if name in formats and not sheet.aside:
            drawn.paths.append(replace(out / f"{sheet.name}.{name}", content))
    return drawn


def _counted(svg: bytes) -> bytes:
    """The same picture with its identifiers counted.

    Those of matplotlib are hashes of places to the last bit, which varies with what was drawn before.
    """
    names: dict[bytes, bytes] = {}
    return _HASHES.sub(lambda found: names.setdefault(found.group(), b"%b%d" % (found.group()[:1], len(names))), svg)


def _shortened(svg: bytes) -> bytes:
    """The same picture with places to a hundredth of a point, which cannot be seen: digits are most of the file.

    Only places: a scale of 0.015625, by which matplotlib makes letters of their outlines, needs all its digits.
    """
    return _PLACES.sub(lambda place: _DECIMALS.sub(b"", place.group()), svg)


def write_text(sheet: Sheet, out: Path, folders: Sequence[Path]) -> Path:
    """Write a text or a document; Markdown and LaTeX name the run folders in a comment, CSV in `sources.json` only."""
    text = sheet.body.markdown() if isinstance(sheet.body, Document) else str(sheet.body)
    origin = "Drawn by " + _maker() + " from: " + "; ".join(folder.as_posix() for folder in folders)
    if sheet.name.endswith(".md"):
        text += f"\n<!-- {origin.replace('--', '- -')} -->\n"
    elif sheet.name.endswith(".tex"):
        text = f"% {origin}\n{text}"
    return replace(out / sheet.name, text.encode("utf-8"))


def write_sources(out: Path, sources: Mapping[str, Sequence[str]]) -> Path:
    """Write `sources.json`: for each file, the run folders that it came from."""
    content = {"made_by": _maker(), "files": {name: list(folders) for name, folders in sorted(sources.items())}}
    return replace(out / SOURCES, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def _maker() -> str:
    return f"madkit {madkit.__version__}"


def _metadata(format_name: str, title: str, folders: Sequence[str]) -> dict[str, Any]:
    """Title, version and run folders under the names that each format gives them; never a date."""
    made_from = "Drawn from: " + "; ".join(folders)
    if format_name == "pdf":
        return {"Title": title, "Subject": made_from, "Creator": _maker(), "CreationDate": None}
    if format_name == "svg":
        return {"Title": title, "Description": made_from, "Creator": _maker(), "Date": None}
    return {"Title": title, "Description": made_from, "Software": _maker()}


def replace(path: Path, content: bytes) -> Path:
    """Write a file whole, in the place of the one that is there.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        return write_atomically(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(f"out={path.parent}: cannot write {path.name} ({reason}); name another folder.") from None
