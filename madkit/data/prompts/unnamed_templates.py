"""Templates for questions that nobody in particular is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from madkit.data.prompts.templates import NAME_FIELDS, Template, load_templates
from madkit.errors import ConfigError

#: A line that says who speaks and nothing else, such as "Name: {name}", and the empty lines behind it.
_NAME_LINE = re.compile(r"^(?:\w+ *: *)?\{(?:" + "|".join(NAME_FIELDS) + r")\}[.:]? *(?:\n\s*|\Z)", re.MULTILINE)


def without_name(template: Template) -> Template:
    r"""The same question with the line that names the speaker left out.

    Raises:
        ConfigError: The name stands in the middle of the text.

    Example:
        >>> without_name(Template("Name: {name}\n\n{a} = {b}. True?", (" No", " Yes"))).text
        '{a} = {b}. True?'
    """
    text = _NAME_LINE.sub("", template.text)
    found = replace(template, text=text, named=False)
    if found.fields.intersection(NAME_FIELDS):
        raise ConfigError(
            f"template {template.text!r} has the name in the middle of its text, so it cannot be left out: use "
            "`--template unnamed`, a YAML file without {name}, or say who is asked with `--name Alice`"
        )
    return found


def load_unnamed(template: str, dataset: str, fields: Iterable[str], name: str | None = None) -> list[Template]:
    """Find the templates that a recipe names, as `load_templates` does, for questions without a speaker.

    Args:
        template: As in `load_templates`; a YAML file need not name a speaker. `unnamed` is the first of
            `standardized`: one wording for all questions, so that they differ in nothing else.
        dataset: The dataset.
        fields: The values that each question offers.
        name: None to leave the line that names the speaker out; else who is asked where a template names someone.

    Raises:
        ConfigError: There is no such list or file, a template does not fit the dataset, or its name cannot be left out.
    """
    if template == "unnamed":
        return load_unnamed("standardized", dataset, fields, name)[:1]
    templates = load_templates(template, dataset, fields, named=False)
    return templates if name is not None else [without_name(item) for item in templates]
