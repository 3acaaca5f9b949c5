"""YAML and JSON files, read so that nothing in them is lost: what cannot be read says where, and no key is twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from madkit.errors import ConfigError, MadkitError, StoreError

#: What YAML's merge key is called; it may stand in a mapping more than once.
_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: str | Path, argument: str = "", error: type[MadkitError] = ConfigError) -> Any:
    """What a YAML file (or a JSON file, which is YAML too) holds.

    Args:
        path: the file, UTF-8, with a byte-order mark or without.
        argument: the option that names the file, for the message.
        error: what is raised.

    Raises:
        MadkitError: it cannot be read, is no YAML, or has a key twice; the message names the file, the line, the column
            and the reason.
    """
    named = f"{argument}={str(path)!r}" if argument else str(path)
    return parse_yaml(_text(Path(path), named, error), named, error)


def parse_yaml(text: str, named: str, error: type[MadkitError] = ConfigError) -> Any:
    r"""What a YAML text holds.

    Args:
        text: the text.
        named: what the message calls it.
        error: what is raised.

    Raises:
        MadkitError: as `read_yaml`.

    Example:
        >>> parse_yaml("a: {b: 1}", "recipe.yaml")
        {'a': {'b': 1}}
        >>> parse_yaml("a: 1\nb: 2\na: 3", "recipe.yaml")
        Traceback (most recent call last):
            ...
        madkit.errors.ConfigError: recipe.yaml has the key 'a' twice, in lines 1 and 3: keep one
    """
    try:
        require_single_keys(text, named, error)
        return yaml.safe_load(text)
    except yaml.YAMLError as reason:
        raise error(f"{named} is no YAML: {yaml_reason(reason)}: correct it there") from None
    except RecursionError:
        raise error(f"{named} is no YAML that can be read: it is nested too deep") from None
    except ValueError as reason:  # a date that is none, a number with thousands of digits
        if isinstance(reason, MadkitError):
            raise
        raise error(f"{named} has a value that cannot be read ({reason}): quote it") from None


def require_single_keys(text: str, named: str, error: type[MadkitError] = ConfigError) -> None:
    """Refuse a YAML text in which a mapping, at any depth, has a key twice: YAML's readers drop the first silently.

    Args:
        text: the text.
        named: what the message calls it.
        error: what is raised.

    Raises:
        MadkitError: a key is there twice; the message names it and both lines.
        yaml.YAMLError: it is no YAML.
    """
    for document in yaml.compose_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        waiting: list[tuple[str, Any]] = [("", document)]
        visited: set[int] = set()
        while waiting:
            inside, node = waiting.pop()
            if id(node) in visited:  # an alias
                continue
            visited.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += [(f"{inside}[{number}]", item) for number, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode):
                seen: dict[tuple[str, str], int] = {}
                for key, value in node.value:
                    if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                        waiting.append((inside, value))
                        continue
                    path, line = f"{inside}.{key.value}".lstrip("."), key.start_mark.line + 1
                    if (first := seen.get((key.tag, key.value))) is not None:
                        raise error(f"{named} has the key {path!r} twice, in lines {first} and {line}: keep one")
                    seen[key.tag, key.value] = line
                    waiting.append((path, value))


def yaml_reason(error: yaml.YAMLError) -> str:
    """Why a text is no YAML, in one line, with line and column where they are known.

    Example:
        >>> try:
        ...     yaml.safe_load("a: [1, 2")
        ... except yaml.YAMLError as error:
        ...     print(yaml_reason(error))
        line 1, column 9: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'
    """
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        words = ", ".join(word for word in (error.context, error.problem) if word)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        return " ".join(f"{where}{words}".split())
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position} cannot stand in a text file"
    return " ".join(str(error).split())


def read_json(path: str | Path, way_out: str, argument: str = "", error: type[MadkitError] = StoreError) -> Any:
    """What a JSON file holds.

    Args:
        path: the file, UTF-8, with a byte-order mark or without.
        way_out: what the user can do about a file that cannot be read: the end of the message.
        argument: the option that names the file, for the message.
        error: what is raised.

    Raises:
        MadkitError: it cannot be read, is no JSON, or has a key twice.
    """
    named = f"{argument}={str(path)!r}" if argument else str(path)

    def single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(key for key, _ in pairs).items():
            if times > 1:
                raise error(f"{named} has the key {key!r} {times} times: {way_out}")
        return dict(pairs)

    text = _text(Path(path), named, error)
    try:
        return json.loads(text, object_pairs_hook=single)
    except json.JSONDecodeError as reason:
        what = f"line {reason.lineno}, column {reason.colno}: {reason.msg}" if text.strip() else "it is empty"
        raise error(f"{named} is no JSON ({what}): {way_out}") from None
    except RecursionError:
        raise error(f"{named} is no JSON that can be read, it is nested too deep: {way_out}") from None
    except ValueError as reason:
        if isinstance(reason, MadkitError):
            raise
        raise error(f"{named} is no JSON ({reason}): {way_out}") from None


def _text(path: Path, named: str, error: type[MadkitError]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{named} is no UTF-8 text (byte {reason.start}: {reason.reason}): save it as UTF-8") from None
    except OSError as reason:
        raise error(f"{named} cannot be read: {reason.strerror or reason}: name a file that can be") from None
