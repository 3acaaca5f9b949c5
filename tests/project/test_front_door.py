"""`import madkit`: quick, complete, and the same objects as in the packages that define them."""

import importlib
import importlib.resources
import inspect
import subprocess
import sys

import pytest

import madkit


def fresh(code):
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_madkit_imports_nothing_heavy():
    heavy = ("torch", "lightning", "transformers", "numpy", "pandas", "sklearn")
    assert fresh(f"import sys, madkit; print([m for m in {heavy!r} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("name", sorted(set(madkit.__all__) - {"__version__"}))
def test_every_public_name_resolves_and_has_documentation(name):
    value = getattr(madkit, name)
    assert name in dir(madkit)
    assert inspect.getdoc(value)
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_statistics_need_no_torch():
    assert fresh("import sys, madkit; madkit.auroc; madkit.compare; print('torch' in sys.modules)") == "False"


def test_packages_are_attributes():
    assert fresh("import madkit; print(madkit.statistics.Interval.__name__)") == "Interval"


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'Mahalonobis'; it has .*Mahalanobis"):
        madkit.Mahalonobis  # noqa: B018


def test_a_type_checker_sees_the_same_names():
    """The names under TYPE_CHECKING are those of the table."""
    source = inspect.getsource(madkit)
    imported = {line.split(" as ")[1] for line in source.splitlines() if line.startswith("    from madkit")}
    assert imported == set(madkit.__all__) - {"__version__"}


def test_type_checkers_are_told_that_there_are_types():
    assert importlib.resources.files("madkit").joinpath("py.typed").is_file()
