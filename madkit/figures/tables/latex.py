"""Tables for a paper."""

from collections.abc import Mapping, Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def latex_tables(tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]], caption: str) -> str:
    """A `table` environment per heading, in the style of the package booktabs; ``**bold**`` cells are bold.

    Args:
        tables: by heading: the head of each column and the rows; the first column is text.
        caption: of all of them, followed by the heading.
    """
    lines = [r"% needs \usepackage{booktabs,graphicx}"]
    for heading, (head, rows) in tables.items():
        lines += [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escaped(caption)}: {escaped(heading)}. Average over datasets [95\% interval].}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(escaped(cell) for cell in head) + r" \\",
            r"\midrule",
            *(" & ".join(_cell(cell) for cell in row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines)


def _cell(cell: str) -> str:
    if cell.startswith("**") and cell.endswith("**"):
        return rf"\textbf{{{escaped(cell[2:-2])}}}"
    return escaped(cell)


def escaped(text: str) -> str:
    r"""Text with the characters that LaTeX reserves escaped.

    Example:
        >>> escaped("a_b & 5%")
        'a\\_b \\& 5\\%'
    """
    safe = "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.splitlines()))
    # Behind the end of a row, these two would be options of it.
    return f"{{{safe[0]}}}{safe[1:]}" if safe.startswith(("[", "*")) else safe
