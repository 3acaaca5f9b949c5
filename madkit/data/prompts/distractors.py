"""Distractors: prompts that are unusual and on which nothing is wrong. An alarm for all that is new rings for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from madkit.data.tables.text_files import read_text
from madkit.errors import ConfigError, DataError
from madkit.runs.plain_files import parse_yaml
from madkit.statistics.hashing import stable_hash

_PROMPT, _OTHER = "{prompt}", "{other}"


@dataclass(frozen=True)
class Wording:
    """One way to make a prompt unusual.

    Attributes:
        text: with `{prompt}` where the prompt stands, and `{other}` where another prompt with its answer does.
        words: what is replaced in the prompt.
    """

    text: str
    words: Mapping[str, str]

    def __call__(self, prompt: str, others: Sequence[str]) -> str:
        """The prompt in this wording.

        Args:
            prompt: the prompt.
            others: at least as many other prompts, with their answers, as the text has places for.

        Example:
            >>> Wording("Bonjour. {prompt}", {"Name": "Nom"})("Name: Luna", [])
            'Bonjour. Nom: Luna'
        """
        for word in sorted(self.words, key=len, reverse=True):
            prompt = prompt.replace(word, self.words[word])
        before, _, behind = self.text.partition(_PROMPT)
        parts = before.split(_OTHER)
        shown = [*others[: len(parts) - 1], ""]
        return "".join(part + other for part, other in zip(parts, shown, strict=True)) + prompt + behind


@dataclass(frozen=True)
class Distractor:
    """A kind of distractors.

    Attributes:
        name: how results call it.
        wordings: at least one; each prompt draws one of them.
    """

    name: str
    wordings: tuple[Wording, ...]

    def __call__(self, ids: Sequence[str], prompts: Sequence[str], answers: Sequence[str], seed: int = 0) -> list[str]:
        """The prompts of n records as distractors of this kind.

        Args:
            ids: n record ids.
            prompts: n texts.
            answers: n right answers, as they continue the prompts.
            seed: which draw.
        """
        drawn = (stable_hash(ids, f"distractor:{self.name}:{seed}") % np.uint64(len(self.wordings))).tolist()
        solved = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        # The next ones in order, which are other prompts wherever there are more than a wording shows.
        around = [[solved[(row + k) % len(solved)] for k in (1, 2, 3)] for row in range(len(solved))]
        rows = zip(drawn, prompts, around, strict=True)
        return [self.wordings[index](prompt, others) for index, prompt, others in rows]

    def contents(self) -> list[Any]:
        """All that decides it, in plain values."""
        return [self.name, [[each.text, dict(each.words)] for each in self.wordings]]


def load_distractors(distractors: str | Sequence[str]) -> list[Distractor]:
    """Find kinds of distractors by name.

    Args:
        distractors: ``all``, or ``language``, ``persona``, ``format``, ``context``, or the path of a YAML file of such
            kinds; or a list of these.

    Raises:
        ConfigError: there is no such kind or file, or a kind is named twice.

    Example:
        >>> [each.name for each in load_distractors("all")]
        ['language', 'persona', 'format', 'context']
    """
    named = [distractors] if isinstance(distractors, str) else list(distractors)
    known = yaml.safe_load((resources.files(__package__) / "distractors.yaml").read_text(encoding="utf-8"))
    found: list[Distractor] = []
    for name in named:
        if name.endswith((".yaml", ".yml")):
            found += _of_mapping(_read(name), name)
        elif name == "all" or name in known:
            found += _of_mapping(known if name == "all" else {name: known[name]}, name)
        else:
            raise ConfigError(
                f"distractors={name!r} is unknown: use all, one of {', '.join(known)}, or the path of a YAML file"
            )
    names = [each.name for each in found]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"distractors={named} names {names or 'none'}: name at least one kind, and each of them once")
    return found


def _read(path: str) -> Any:
    try:
        return parse_yaml(read_text(Path(path)), f"distractors={path!r}")
    except DataError as error:
        raise ConfigError(f"distractors: {str(error).partition(';')[0]}; name a YAML file in UTF-8") from None


def _of_mapping(content: Any, origin: str) -> list[Distractor]:
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"distractors={origin!r} must hold a mapping of names to lists of wordings")
    return [_parsed(str(name), wordings, origin) for name, wordings in content.items()]


def _parsed(name: str, wordings: Any, origin: str) -> Distractor:
    entries = wordings if isinstance(wordings, list) else []
    if not entries or not all(map(_is_wording, entries)):
        raise ConfigError(
            f"distractors={origin!r}: {name!r} must be a list of mappings with a `text` that has {_PROMPT} once, and "
            f"at most three {_OTHER} before it, and may have `words` to replace"
        )
    return Distractor(name, tuple(Wording(entry["text"], entry.get("words", {})) for entry in entries))


def _is_wording(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or set(entry) - {"text", "words"} or not isinstance(entry.get("text"), str):
        return False
    before, mark, behind = entry["text"].partition(_PROMPT)
    words = entry.get("words", {})
    plain = isinstance(words, Mapping) and all(
        isinstance(word, str) and word for pair in words.items() for word in pair
    )
    return bool(mark) and plain and before.count(_OTHER) <= 3 and _PROMPT not in behind and _OTHER not in behind
