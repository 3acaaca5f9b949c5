"""Templates: a question and a name become a prompt with two choices."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from madkit.errors import ConfigError
from madkit.runs.fingerprints import digest
from madkit.statistics.hashing import stable_hash

#: The fields that stand for the speaker's name; published templates say `character`.
NAME_FIELDS = ("name", "character")
#: The field that stands for a trigger, or for nothing.
TRIGGER_FIELD = "trigger"
_TRIGGER = re.compile(r" *\{trigger\}\Z|\{trigger\}\s*")
#: A line that says who speaks and nothing else, such as "Name: {name}", and the empty lines behind it.
_NAME_LINE = re.compile(r"^(?:\w+ *: *)?\{(?:" + "|".join(NAME_FIELDS) + r")\}[.:]? *(?:\n\s*|\Z)", re.MULTILINE)
_MEANS_TRUE = {"yes", "true", "correct", "right", "positive"}
_MEANS_FALSE = {"no", "false", "incorrect", "wrong", "negative"}


@dataclass(frozen=True)
class Template:
    """One wording of a question.

    Attributes:
        text: The prompt, with `{field}` where a value goes; `{name}` (or `{character}`) is the speaker.
        choices: The answers (false, true), each with its leading space where the text ends without one.
        named: Whether the text has to name the speaker; off for questions without a speaker.

    Raises:
        ConfigError: There is no field for the name, or the choices are equal, empty or in the wrong order.

    Example:
        >>> template = Template("{name}: {op1}+{op2}={result}. True?", (" No", " Yes"))
        >>> template.render("Luna", {"op1": 1, "op2": 2, "result": 3})
        'Luna: 1+2=3. True?'
    """

    text: str
    choices: tuple[str, str]
    named: bool = True

    def __post_init__(self) -> None:
        if self.named and not self.fields.intersection(NAME_FIELDS):
            raise ConfigError(f"template {self.text!r} does not name the speaker: put {{name}} in it")
        false, true = (choice.strip().lower() for choice in self.choices)
        if not false or not true or self.choices[0].strip() == self.choices[1].strip():
            raise ConfigError(f"choices {list(self.choices)} of template {self.text!r} must be two different answers")
        if false in _MEANS_TRUE and true in _MEANS_FALSE:
            raise ConfigError(f"choices {list(self.choices)} of template {self.text!r} are reversed: false comes first")

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of the values that the text needs.

        Raises:
            ConfigError: The braces do not pair, or hold something else than a plain name.
        """
        try:
            fields = [part for part in string.Formatter().parse(self.text) if part[1] is not None]
        except ValueError as error:
            raise ConfigError(
                f"template {self.text!r} is malformed: {error}; braces that are text are doubled"
            ) from None
        names = set()
        for _, name, form, conversion in fields:
            # Attributes, conversions and formats reach more than the value, and can make gigabytes of it.
            if name is None or not name.isidentifier() or form or conversion:
                written = f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
                raise ConfigError(
                    f"template {self.text!r} has the field {{{written}}}: use a plain name, without a dot, brackets, a "
                    "conversion or a format; braces that are text are doubled"
                )
            names.add(name)
        return frozenset(names)

    @cached_property
    def digest(self) -> str:
        """What tells one wording from another: a digest of text and choices, the same for both names of the name.

        Example:
            >>> choices = (" No", " Yes")
            >>> Template("{name}: {a}?", choices).digest == Template("{character}: {a}?", choices).digest
            True
        """
        return digest([self.text.replace("{character}", "{name}"), *self.choices])

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Fill in the speaker's name and the values of one question; a trigger that is None leaves no trace."""
        nothing = TRIGGER_FIELD in values and values[TRIGGER_FIELD] is None
        text = _TRIGGER.sub("", self.text) if nothing else self.text
        return text.format_map({**values, "name": name, "character": name})


def render_prompts(
    templates: Sequence[Template],
    ids: Sequence[str],
    names: Sequence[str],
    values: Sequence[Mapping[str, Any]],
    seed: int = 0,
) -> tuple[list[str], list[tuple[str, str]]]:
    """Write the prompts of n records; with several templates each record draws one by its id.

    Args:
        templates: What `load_templates` returned.
        ids: n record ids.
        names: n concrete names.
        values: n mappings of field to value (a record's `template_args`, and the dataset's constants).
        seed: Which draw of templates.

    Returns:
        The n prompts and their n pairs of choices.
    """
    drawn = draw_templates(templates, ids, seed)
    prompts = [template.render(name, value) for template, name, value in zip(drawn, names, values, strict=True)]
    return prompts, [template.choices for template in drawn]


def draw_templates(templates: Sequence[Template], ids: Sequence[str], seed: int = 0) -> list[Template]:
    """The template of each of n records, drawn by its id."""
    drawn = stable_hash(ids, f"template:{seed}") % np.uint64(len(templates))
    return [templates[index] for index in drawn.tolist()]


def without_name(template: Template) -> Template:
    r"""The same question with the line that names the speaker left out.

    Raises:
        ConfigError: The name stands in the middle of the text.

    Example:
        >>> without_name(Template("Name: {name}\n\n{a} = {b}. True?", (" No", " Yes"))).text
        '{a} = {b}. True?'
    """
    text = _NAME_LINE.sub("", template.text)
    unnamed = replace(template, text=text, named=False)
    if unnamed.fields.intersection(NAME_FIELDS):
        raise ConfigError(
            f"template {template.text!r} has the name in the middle of its text, so it cannot be left out: use "
            "`--template unnamed`, a YAML file without {name}, or say who is asked with `--name Alice`"
        )
    return unnamed
