"""Tables with words around them: written as Markdown, and set in the report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from madkit.figures.tables.averages import Average


@dataclass(frozen=True)
class Document:
    """A title, an introduction, findings, a table under each heading, and notes."""

    title: str
    intro: str
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]]
    """By heading: the head of each column and the rows; the first column is text, the others are numbers."""
    notes: Sequence[str] = field(default=())
    """How the numbers are made."""
    findings: Sequence[str] = field(default=())
    """What they say, in sentences; above the tables."""

    def markdown(self) -> str:
        """Title, tables and notes as one Markdown text.

        Example:
            >>> print(Document("T", "I.", {"m": (["a", "n"], [["x", "5"]])}, ["N."]).markdown())
            # T
            <BLANKLINE>
            I.
            <BLANKLINE>
            ## m
            <BLANKLINE>
            | a | n |
            | --- | ---: |
            | x | 5 |
            <BLANKLINE>
            - N.
            <BLANKLINE>
        """
        lines = [f"# {self.title}", "", self.intro, "", *(f"- {finding}" for finding in self.findings)]
        lines += [""] if self.findings else []
        for heading, (head, rows) in self.tables.items():
            lines += [f"## {heading}", "", *markdown_table(head, rows), ""]
        if self.notes:
            lines += [*(f"- {note}" for note in self.notes), ""]
        return without_html("\n".join(lines))


def without_html(text: str) -> str:
    r"""Markdown in which names bring neither tags nor links of their own.

    Example:
        >>> without_html("a<img src=x> [b](c), p < 0.05")
        'a&lt;img src=x> [b]\\(c), p < 0.05'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("](", "]\\(")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first column is text and whose others are numbers.

    Example:
        >>> markdown_table(["detector", "n"], [["lof", "5"]])
        ['| detector | n |', '| --- | ---: |', '| lof | 5 |']
    """
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(map(_cell, cells)) + " |" for cells in lines]


def _cell(text: str) -> str:
    """The text of a cell, which ends at a vertical bar or a new line."""
    return " ".join(text.splitlines()).replace("|", "\\|")


def with_interval(value: Average | None) -> str:
    """A number with its interval, or a dash.

    Example:
        >>> with_interval(Average(0.5, 0.25, 0.75, 5)), with_interval(None)
        ('0.500 [0.250, 0.750]', '-')
    """
    return "-" if value is None else f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
