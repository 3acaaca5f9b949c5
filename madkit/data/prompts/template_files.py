"""Files of templates: those of each dataset, and those that a user writes.

Each dataset has a file `templates/<dataset>.yaml` that holds named lists of templates. Wherever the name of such a list
is expected, the path of another YAML file can be given.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from madkit.data.prompts.templates import NAME_FIELDS, Template, without_name
from madkit.data.tables.text_files import read_text
from madkit.errors import ConfigError, DataError
from madkit.runs.plain_files import parse_yaml


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
        At least one template. With several, each record draws one.

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
        origin: Where it is from, for the message.
        dataset: Whose questions it words.
        fields: The values that each of these offers.
        named: Whether it has to name the speaker.

    Raises:
        ConfigError: It is no template, or does not fit the dataset.
    """
    parsed = _parse(entry, origin, named)
    offered = {*fields, *NAME_FIELDS}
    if unknown := parsed.fields - offered:
        raise ConfigError(
            f"template {parsed.text!r} needs {sorted(unknown)}, but {dataset!r} offers only {sorted(offered)}"
        )
    return parsed


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


def load_unnamed(template: str, dataset: str, fields: Iterable[str], name: str | None = None) -> list[Template]:
    """Find the templates that a recipe names, as `load_templates` does, for questions without a speaker.

    Args:
        template: As in `load_templates`; a YAML file need not name a speaker. `unnamed` is the first of
            `standardized`: one wording for all questions, so that they differ in nothing else.
        dataset: The dataset.
        fields: The values that each question offers.
        name: None to leave the line that names the speaker out; else the speaker where a template names one.

    Raises:
        ConfigError: There is no such list or file, a template does not fit the dataset, or its name cannot be left out.
    """
    if template == "unnamed":
        return load_unnamed("standardized", dataset, fields, name)[:1]
    templates = load_templates(template, dataset, fields, named=False)
    return templates if name is not None else [without_name(item) for item in templates]


def _file(dataset: str) -> Any:
    return resources.files("madkit.data") / "templates" / f"{dataset}.yaml"


def _named(template: str, dataset: str) -> Any:
    file = _file(dataset)
    if not file.is_file():
        raise ConfigError(
            f"template={template!r} is a list of madkit's datasets and {dataset!r} is not one of them: "
            "name a YAML file with `template` and `choices` instead"
        )
    lists = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "mixture" in lists:
        lists["first"] = lists["mixture"][:1]
    if template not in lists:
        raise ConfigError(f"template={template!r} is unknown: use one of {sorted(lists)} or the path of a YAML file")
    return lists[template]


def _read_yaml(path: Path) -> Any:
    try:
        text = read_text(path)
    except (ConfigError, DataError) as error:
        raise ConfigError(f"template: {str(error).partition(';')[0]}; name a YAML file in UTF-8") from None
    return parse_yaml(text, f"template={str(path)!r}")


def _parse(entry: Any, origin: str, named: bool) -> Template:
    shown = reprlib.repr(entry)  # aliases can make an entry of a short file endless
    if not isinstance(entry, Mapping) or set(entry) != {"template", "choices"}:
        raise ConfigError(f"template={origin!r}: {shown} must have exactly the keys `template` and `choices`")
    text, choices = entry["template"], entry["choices"]
    pair = isinstance(choices, list) and len(choices) == 2 and all(isinstance(c, str) for c in choices)
    if not isinstance(text, str) or not pair:
        raise ConfigError(f"template={origin!r}: {shown} needs a text and two quoted choices, such as [' No', ' Yes']")
    return Template(text, (choices[0], choices[1]), named)
