"""What packages export: names that are there, and that no module of the package bears too."""

import importlib
import pkgutil

import pytest


@pytest.mark.parametrize("name", ["madkit.statistics", "madkit.streaming", "madkit.scores", "madkit.analysis"])
def test_no_exported_name_hides_a_module(name):
    package = importlib.import_module(name)
    assert package.__all__ == sorted(set(package.__all__))
    assert all(hasattr(package, exported) for exported in package.__all__)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)
