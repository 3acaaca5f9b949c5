"""Put everything on one page: no network, no server, one file."""

from __future__ import annotations

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
from madkit.figures.output import RenderedFigure, replace_file
from madkit.figures.registry import SECTIONS, Sheet
from madkit.figures.tables.document import Document

if TYPE_CHECKING:
    from madkit.figures.results.results import Results

FIRST = "table1.md"
"""The table that stands above all sections."""


def write_report(
    path: Path, results: Results, figures: Sequence[RenderedFigure], texts: Sequence[tuple[str, Sheet]]
) -> Path:
    """Write the report.

    Args:
        path: the file.
        results: what the figures were drawn from.
        figures: all of them, also those that stand in the report only.
        texts: tables with the titles of their sections; those that are documents are shown.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline_markdown"] = inline_markdown
    template = environment.from_string(_file("template.html.j2"))
    documents = {sheet.name: (section, sheet.body) for section, sheet in texts if isinstance(sheet.body, Document)}
    first = documents.pop(FIRST, None)
    titles = [*SECTIONS.values(), *(figure.section for figure in figures), *(title for title, _ in documents.values())]
    sections = [
        {
            "title": title,
            "anchor": f"section-{index}",
            "figures": [figure for figure in figures if figure.section == title],
            "documents": [document for section, document in documents.values() if section == title],
        }
        for index, title in enumerate(dict.fromkeys(titles))
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
        folders=[folder.as_posix() for folder in results.everything],
    )
    return replace_file(path, page.encode("utf-8"))


def inline_markdown(text: str) -> Markup:
    """Markdown's bold, italics and code as HTML; everything else stays as it is.

    Example:
        >>> inline_markdown("**a** < *b*")
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
