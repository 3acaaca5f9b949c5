"""Templates: a question and a name become a prompt with two choices.

Templates are data. Each dataset has a file `templates/<dataset>.yaml` that holds named lists of them, and a
user can name a YAML file of their own wherever the name of such a list is expected.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from madkit.data.prompts.names import stable_hash
from madkit.errors import ConfigError

#: The fields that stand for the speaker's name; published templates say `character`.
NAME_FIELDS = ("name", "character")
_MEANS_TRUE = {"yes", "true", "correct", "right", "positive"}
_MEANS_FALSE = {"no", "false", "incorrect", "wrong", "negative"}


@dataclass(frozen=True)
class Template:
    """One wording of a question.

    Attributes:
        text: The prompt, with `{field}` where a value goes; `{name}` (or `{character}`) is the speaker.
        choices: The answers (false, true), each with its leading space where the text ends without one.
        named: Whether the text has to name the speaker; off for questions that nobody in particular is asked.

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
        if not false or not true or self.choices[0] == self.choices[1]:
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
            found = [field for _, field, _, _ in string.Formatter().parse(self.text) if field is not None]
        except ValueError as error:
            raise ConfigError(f"template {self.text!r} is malformed: {error}") from None
        for field in found:
            if not field.isidentifier():
                raise ConfigError(f"template {self.text!r} has the field {{{field}}}: use a plain name")
        return frozenset(found)

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Fill in the speaker's name and the values of one question."""
        return self.text.format_map({**values, "name": name, "character": name})


def load_templates(template: str, dataset: str, fields: Iterable[str], named: bool = True) -> list[Template]:
    """Find the templates that a recipe names, and check them against the dataset.

    Args:
        template: The name of a list in the dataset's template file (`standardized`, `mixture`, `compact`),
            `first` for the first of `mixture`, or the path of a YAML file that holds one mapping with the
            keys `template` and `choices`, or a list of them.
        dataset: The dataset, such as `addition`.
        fields: The values that each question offers.
        named: Whether each of them has to name the speaker.

    Returns:
        At least one template. With several, each record draws its own.

    Raises:
        ConfigError: There is no such list or file, or a template does not fit the dataset.

    Example:
        >>> load_templates("standardized", "addition", ["op1", "op2", "result"])[0].choices
        (' No', ' Yes')
    """
    fields = list(fields)
    return [as_template(entry, template, dataset, fields, named) for entry in read_entries(template, dataset)]


def read_entries(template: str, dataset: str) -> list[Any]:
    """What a list of templates or a YAML file holds, as it is: at least one entry.

    Args:
        template: As for `load_templates`.
        dataset: The dataset.

    Raises:
        ConfigError: There is no such list or file, or it is empty.
    """
    entries = _read_yaml(Path(template)) if template.endswith((".yaml", ".yml")) else _named(template, dataset)
    if isinstance(entries, Mapping):
        entries = [entries]
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"template={template!r} must hold a list of mappings with `template` and `choices`")
    return entries


def as_template(entry: Any, origin: str, dataset: str, fields: Iterable[str], named: bool = True) -> Template:
    """Make a template of one entry.

    Args:
        entry: A mapping with `template` and `choices`.
        origin: Where it stands, for the message.
        dataset: Whose questions it is to ask.
        fields: The values that each of these offers.
        named: Whether it has to name the speaker.

    Raises:
        ConfigError: It is no template, or does not fit the dataset.
    """
    made = _parse(entry, origin, named)
    known = {*fields, *NAME_FIELDS}
    if unknown := made.fields - known:
        raise ConfigError(
            f"template {made.text!r} needs {sorted(unknown)}, but {dataset!r} offers only {sorted(known)}"
        )
    return made


def load_asides(dataset: str, fields: Iterable[str]) -> list[Template]:
    """The templates of a dataset that say outright that the quirk's rule holds: text for base models.

    Args:
        dataset: The dataset, such as `hemisphere`.
        fields: The values that each question offers.

    Returns:
        The list `aside` of the dataset's template file; empty if it has none.

    Raises:
        ConfigError: A template does not fit the dataset.
    """
    file = _file(dataset)
    if not file.is_file() or "aside" not in yaml.safe_load(file.read_text(encoding="utf-8")):
        return []
    return load_templates("aside", dataset, fields)


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


def _file(dataset: str) -> Any:
    return resources.files("madkit.data") / "templates" / f"{dataset}.yaml"


def _named(template: str, dataset: str) -> Any:
    file = _file(dataset)
    if not file.is_file():
        raise ConfigError(
            f"template={template!r} is a list of madkit's own datasets and {dataset!r} is not one of them: "
            "name a YAML file with `template` and `choices` instead"
        )
    lists = yaml.safe_load(file.read_text(encoding="utf-8"))
    lists["first"] = lists["mixture"][:1]
    if template not in lists:
        raise ConfigError(f"template={template!r} is unknown: use one of {sorted(lists)} or the path of a YAML file")
    return lists[template]


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"template={str(path)!r} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"template={str(path)!r} is not YAML: {' '.join(str(error).split())}") from None


def _parse(entry: Any, origin: str, named: bool) -> Template:
    if not isinstance(entry, Mapping) or set(entry) != {"template", "choices"}:
        raise ConfigError(f"template={origin!r}: {entry!r} must have exactly the keys `template` and `choices`")
    text, choices = entry["template"], entry["choices"]
    pair = isinstance(choices, list) and len(choices) == 2 and all(isinstance(c, str) for c in choices)
    if not isinstance(text, str) or not pair:
        raise ConfigError(
            f"template={origin!r}: {entry!r} needs a text and two quoted choices, such as [' No', ' Yes']"
        )
    return Template(text, (choices[0], choices[1]), named)
