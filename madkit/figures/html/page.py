"""Put everything on one page: no network, no server, one file."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

import madkit
from madkit.figures.drawing.style import model_colors
from madkit.figures.html.datasets import dataset_sections
from madkit.figures.html.origin import origins
from madkit.figures.html.summary import summary
from madkit.figures.output import Drawn, replace
from madkit.figures.registry import SECTIONS, Sheet
from madkit.figures.tables.document import Document

if TYPE_CHECKING:
    from madkit.figures.results.results import Results

FIRST = "table1.md"


def write_report(path: Path, results: Results, figures: Sequence[Drawn], texts: Sequence[tuple[str, Sheet]]) -> Path:
    """Write the report.

    Args:
        path: the file.
        results: what the figures were drawn from.
        figures: all of them, also those that stand in the report only.
        texts: tables with their sections; those that are documents are shown.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["words"] = words
    environment.filters["packed"] = packed
    template = environment.from_string(_file("template.html.j2"))
    documents = {sheet.name: (section, sheet.body) for section, sheet in texts if isinstance(sheet.body, Document)}
    first = documents.pop(FIRST, None)
    names = [*SECTIONS, *(figure.section for figure in figures)]
    sections = [
        {
            "title": name,
            "anchor": f"section-{index}",
            "figures": [figure for figure in figures if figure.section == name],
            "documents": [document for section, document in documents.values() if section == name],
        }
        for index, name in enumerate(dict.fromkeys(names))
    ]
    page = template.render(
        version=madkit.__version__,
        css=Markup(_file("report.css")),
        js=Markup(_file("report.js")),
        models=results.models,
        colors=model_colors(results.models),
        findings=summary(results),
        table=first[1] if first else None,
        sections=[section for section in sections if section["figures"] or section["documents"]],
        datasets=dataset_sections(results),
        origins=origins(results),
        folders=[folder.as_posix() for folder in results.folders_of(None)],
    )
    return replace(path, page.encode("utf-8"))


def packed(figure: Drawn) -> str:
    """Picture and points of a figure, compressed, as text that may stand in a page."""
    whole = {"svg": gzip.decompress(figure.svg).decode("utf-8"), "points": figure.points}
    content = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def words(text: str) -> Markup:
    """Markdown's bold and italics as HTML; everything else stays as it is.

    Example:
        >>> words("**a** < *b*")
        Markup('<strong>a</strong> &lt; <em>b</em>')
    """
    safe = str(escape(text))
    for mark, tag in (("**", "strong"), ("*", "em"), ("`", "code")):
        pieces = safe.split(mark)
        if len(pieces) % 2 == 0:  # a mark without its partner is a letter like others
            continue
        safe = "".join(piece if index % 2 == 0 else f"<{tag}>{piece}</{tag}>" for index, piece in enumerate(pieces))
    return Markup(safe)


def _file(name: str) -> str:
    return (files("madkit.figures.html") / name).read_text(encoding="utf-8")
