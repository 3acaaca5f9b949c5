"""Tables with words around them: written as Markdown, and set in the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from madkit.figures.tables.averages import Average


@dataclass(frozen=True)
class Document:
    """A title, an introduction, a table under each heading, and notes."""

    title: str
    intro: str
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]]
    """By heading: the head of each column and the rows; the first column is text, the others are numbers."""
    notes: Sequence[str] = field(default=())

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
        lines = [f"# {self.title}", "", self.intro, ""]
        for heading, (head, rows) in self.tables.items():
            lines += [f"## {heading}", "", *markdown_table(head, rows), ""]
        if self.notes:
            lines += [*(f"- {note}" for note in self.notes), ""]
        return "\n".join(lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first column is text and whose others are numbers.

    Example:
        >>> markdown_table(["detector", "n"], [["lof", "5"]])
        ['| detector | n |', '| --- | ---: |', '| lof | 5 |']
    """
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def with_interval(value: Average | None) -> str:
    """A number with its interval, or a dash.

    Example:
        >>> with_interval(Average(0.5, 0.25, 0.75, 5)), with_interval(None)
        ('0.500 [0.250, 0.750]', '-')
    """
    return "-" if value is None else f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
