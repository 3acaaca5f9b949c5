"""The wordings that the published quirky adapters were trained on, as digests and as a reader of their source.

The adapters ``EleutherAI/<model>-<dataset>-random-standardized`` and ``...-many-random-names`` (arXiv 2312.01037 and
2504.08812) were trained on ten or eleven wordings a dataset, one drawn for each prompt. madkit has the first of each as
the list ``published``, and the digests of all; the others are read from a copy of the repository that they are in.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from madkit.data.prompts.templates import Template
from madkit.errors import ConfigError, DataError

#: Where the wordings are; the second one is the first with the 32 names.
SOURCES = ("https://github.com/EleutherAI/elk-generalization", "https://github.com/davidoj/quirky-language-models")
CHOICES = (" No", " Yes")
_FRAME = "Name: {{name}}\n\n{context}\n\n***STATEMENT:*** {statement}\n\nIs the statement factually correct?"
_ADAPTER = re.compile(r"-([a-z]+)-random-standardized(-many-random-names)?(?=/|@|$)")
_INSIDE = Path("elk_generalization") / "datasets"


@cache
def wordings() -> dict[str, frozenset[str]]:
    """The digests of the wordings of each dataset."""
    file = resources.files("madkit.data") / "templates" / "published.json"
    return {name: frozenset(digests) for name, digests in json.loads(file.read_text(encoding="utf-8")).items()}


def dataset_of(adapter: str) -> str | None:
    """The dataset of a published adapter, which its name tells; None for another adapter.

    Args:
        adapter: hub name or folder.

    Example:
        >>> dataset_of("EleutherAI/Mistral-7B-v0.1-addition-random-standardized-many-random-names")
        'addition'
    """
    found = _ADAPTER.search(re.sub(r"/snapshots/[^/]+/?$", "", adapter).rstrip("/"))
    return found[1] if found and found[1] in wordings() else None


def framed(context: str, statement: str) -> Template:
    """A published wording."""
    return Template(_FRAME.format(context=context, statement=statement).replace("{character}", "{name}"), CHOICES)


def read_published(folder: Path) -> dict[str, list[Template]]:
    """All wordings of each dataset, from a copy of the repository that they are published in; its code is not run.

    Args:
        folder: the copy.

    Raises:
        ConfigError: it is not that repository.
        DataError: a dataset has other wordings there than the adapters were trained on.
    """
    files = sorted((folder / _INSIDE).glob("*_dataset.py"))
    if not files:
        raise ConfigError(
            f"source={str(folder)!r} holds no {_INSIDE.as_posix()}/*_dataset.py: name a copy of {SOURCES[1]}, such as "
            "`git clone` makes"
        )
    found = {name: templates for file in files for name, templates in _of_file(file)}
    for name, digests in wordings().items():
        if {template.digest for template in found.get(name, ())} != digests:
            raise DataError(
                f"source={str(folder)!r} has other wordings of {name!r} than the published adapters were trained on: "
                f"take {SOURCES[1]} at bc8549f, or {SOURCES[0]} at c04a86d"
            )
    return {name: found[name] for name in wordings()}


def _of_file(file: Path) -> Iterator[tuple[str, list[Template]]]:
    """Each dataset of a module, with its wordings in their order."""
    try:
        module = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{str(file)!r} cannot be read ({type(error).__name__}): copy the repository again") from error
    for cls in (node for node in module.body if isinstance(node, ast.ClassDef)):
        values = {
            target.id: node.value
            for node in cls.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if isinstance(entries := values.get("statement_templates"), ast.List):
            texts = [{key.arg: _text(key.value, values) for key in entry.keywords} for entry in _calls(entries, file)]
            yield (
                cls.name.lower().removesuffix("dataset"),
                [framed(str(text.get("context")), str(text.get("statement"))) for text in texts],
            )


def _calls(entries: ast.List, file: Path) -> list[ast.Call]:
    calls = [entry for entry in entries.elts if isinstance(entry, ast.Call)]
    if len(calls) != len(entries.elts):
        raise DataError(f"{str(file)!r} has statement_templates of another form: take the commit that the docs name")
    return calls


def _text(node: ast.expr, names: Mapping[str, ast.expr]) -> Any:
    """The value of an expression of texts, sums of texts, and ``str`` of a number of the class."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{_text(left, names)}{_text(right, names)}"
        case ast.Call(func=ast.Name(id="str"), args=[ast.Name(id=name)]) if name in names:
            return str(_text(names[name], names))
    raise DataError(f"statement_templates holds {ast.unparse(node)[:60]!r}, which is no text")
