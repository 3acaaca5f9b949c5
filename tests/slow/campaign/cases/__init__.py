"""The cases, a file for each category."""

import importlib
import pkgutil

from campaign.case import Case


def all_cases() -> list[tuple[str, Case]]:
    """Every case with its category, the name of its file."""
    found = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        found += [(module.name, case) for case in importlib.import_module(f"{__name__}.{module.name}").CASES]
    names = [(category, case.name) for category, case in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"cases of one name: {sorted(twice)}")
    return found
