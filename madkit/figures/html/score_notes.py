"""What a score is and is blind to, as its docstring says: read from the source, as importing scores imports torch."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import madkit

LABELS = ("Formula", "Source", "Blind to", "Use when")
"""The paragraphs of a docstring that the report shows."""


def score_notes(score: str) -> dict[str, str]:
    """The paragraphs about a score of madkit's own, by label; under ``""`` the first sentence. Empty for others.

    Args:
        score: its name in results, which may go on with its options, such as ``knn_k10``.

    Example:
        >>> score_notes("knn_k10")[""], score_notes("my_score")
        ('Distance to the k-th nearest trusted row, or the mean distance to the k nearest.', {})
    """
    known = _docstrings()
    names = [name for name in known if score == name or score.startswith(f"{name}_")]
    return _paragraphs(known[max(names, key=len)]) if names else {}


def _paragraphs(docstring: str) -> dict[str, str]:
    first, *parts = docstring.split("\n\n")
    texts = {"": " ".join(first.split())}
    for part in parts:
        label, _, text = part.partition(":")
        if label in LABELS:
            texts[label] = " ".join(text.split())
    return texts


@cache
def _docstrings() -> dict[str, str]:
    """By the name in results."""
    found = {}
    for path in sorted((Path(madkit.__file__).parent / "scores").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and "Use when:" in (text := ast.get_docstring(node) or ""):
                found[_short(node)] = inspect.cleandoc(text)
    return found


def _short(node: ast.ClassDef) -> str:
    """The class's name in results: its attribute `short`, or its own in snake case."""
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "short" for target in targets):
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", node.name).lower()
