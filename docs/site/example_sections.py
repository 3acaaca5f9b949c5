"""What griffe reads as an example: madkit's docstrings say ``Example:`` where it expects ``Examples:``."""

import re

import griffe


class ExampleSections(griffe.Extension):
    """Give the section the name that griffe knows, as it would show the prompts of a doctest as quotations."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Change the docstring of whatever has one."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
