"""Put everything on one page: no network, no server, one file.

What everybody reads stands in the page as it is. What is looked up, a page of a detector, of a dataset, of the
configuration, or a figure, stands behind it as packed text and is unpacked when somebody goes there: so the first
screen waits for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import madkit
from madkit.figures.drawing.style import model_colors
from madkit.figures.html.datasets import dataset_sections
from madkit.figures.html.detectors import detector_pages
from madkit.figures.html.origin import origins
from madkit.figures.html.summary import summary
from madkit.figures.naming import slug
from madkit.figures.output import UNITS, RenderedFigure, replace_file
from madkit.figures.packing import packed
from madkit.figures.registry import SECTIONS, Sheet
from madkit.figures.tables.document import Document

if TYPE_CHECKING:
    from madkit.figures.results.results import Results

FIRST = "table1.md"
"""The table that stands above all sections."""
_INTERVAL = re.compile(r"(?<=\d) (\[[^\]]*\])")


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
    loader = PackageLoader("madkit.figures.html")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    detectors = detector_pages(results)
    named = zip(detectors, _anchors("detector", detectors), strict=True)
    anchors = {page[name]: anchor for page, anchor in named for name in ("name", "in_tables")}
    environment.filters["inline_markdown"] = inline_markdown
    environment.filters["cell"] = partial(_cell, pages=anchors)
    environment.globals["colors"] = model_colors(results.models)
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
    folders = [folder.as_posix() for folder in results.everything]
    pages = _pages(environment, results, detectors, folders)
    page = environment.get_template("report.html.j2").render(
        version=madkit.__version__,
        css=Markup(_file("report.css")),
        js=Markup(_file("report.js")),
        models=results.models,
        findings=summary(results),
        table=first[1] if first else None,
        sections=[section for section in sections if section["figures"] or section["documents"]],
        figures=figures,
        units=UNITS,
        pages=pages,
        folders=folders,
    )
    return replace_file(path, page.encode("utf-8"))


def _pages(
    environment: Environment, results: Results, detectors: Sequence[dict[str, Any]], folders: Sequence[str]
) -> list[dict[str, Any]]:
    """The pages that have an address of their own: anchor, title, kind, and packed content."""
    pages: list[tuple[str, str, str, dict[str, Any]]] = []
    for kind, parts in (("detector", detectors), ("dataset", dataset_sections(results))):
        named = zip(_anchors(kind, parts), parts, strict=True)
        pages += [(kind, anchor, part["name"], {kind: part}) for anchor, part in named]
    variables = {"origins": origins(results), "folders": folders, "version": madkit.__version__}
    pages.append(("configuration", "configuration", "Configuration and how to repeat it", variables))
    return [
        {
            "kind": kind,
            "anchor": anchor,
            "title": title,
            "content": packed(environment.get_template(f"{kind}.html.j2").render(**content)),
        }
        for kind, anchor, title, content in pages
    ]


def _anchors(kind: str, parts: Sequence[dict[str, Any]]) -> list[str]:
    """The address of each page; no two share one, whatever letters their names have."""
    anchors: list[str] = []
    for part in parts:
        anchor = f"{kind}-{slug(part['name'])}"
        anchors.append(f"{anchor}-{len(anchors)}" if anchor in anchors else anchor)
    return anchors


def _cell(text: str, pages: dict[str, str], first: bool = False) -> Markup:
    """A cell of a table: an interval on a line of its own, and a detector's name as a link to its page."""
    if first and text in pages:
        return Markup('<a href="#{}">{}</a>').format(pages[text], text)
    return Markup(_INTERVAL.sub(r" <small>\1</small>", str(inline_markdown(text))))


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
