"""Numbers and tables as Markdown."""

from collections.abc import Sequence

from madkit.figures.averages import Average


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
