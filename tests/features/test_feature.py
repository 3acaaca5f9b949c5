"""A feature of one's own: named by its class, identified by its options and its code."""

import importlib.util
import sys

import pytest

from madkit.errors import ConfigError
from madkit.features import Feature
from madkit.features.feature import layer_of

MODULE = """
from madkit.features import Feature{imports}

class {name}({base}):
    def __init__(self, power: int = 1, width: int = 2) -> None:
        self.power, self.width = power, width

    def hookpoints(self, lm):
        return []

    def sites(self, lm):
        return ["one"]

    def __call__(self, trace):
        return {{"one": trace.logits[:, : self.width] ** self.power * {factor}}}
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes a class to a module's file and imports it anew."""

    def write(module, name, base="Feature", imports="", factor=1):
        path = tmp_path / f"{module}.py"
        path.write_text(MODULE.format(name=name, base=base, imports=imports, factor=factor))
        spec = importlib.util.spec_from_file_location(module, path)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module, loaded)
        spec.loader.exec_module(loaded)
        return getattr(loaded, name)

    return write


def test_its_name_is_the_class_in_snake_case_and_what_the_class_says(written):
    cls = written("mine", "LogitPower")
    assert cls().name == cls(power=2).name == "logit_power"
    named = type("Named", (cls,), {"in_name": ("power",), "short": "power"})
    assert (named().name, named(power=2, width=3).name) == ("power", "power_power2")
    assert repr(named(power=2)) == "Named(power=2, width=2)"


def test_an_edited_class_or_base_is_another_feature(written):
    parent = written("parent", "Parent")
    child = written("child", "Child", "Parent", "\nfrom parent import Parent")
    before = child().identity()
    assert before["options"] == {"power": 1, "width": 2} and before == child().identity()
    assert before["source"] != parent().identity()["source"]
    edited = written("child", "Child", "Parent", "\nfrom parent import Parent", factor=3)
    assert edited().identity()["source"] != before["source"]
    written("child", "Child", "Parent", "\nfrom parent import Parent")
    written("parent", "Parent", factor=3)
    again = written("child", "Child", "Parent", "\nfrom parent import Parent")
    assert again().identity()["source"] != before["source"]
    written("parent", "Parent")
    assert written("child", "Child", "Parent", "\nfrom parent import Parent")().identity() == before


def test_a_class_that_is_in_no_file_is_refused():
    space = {"__name__": "nowhere", "Feature": Feature}
    exec("class Typed(Feature):\n    hookpoints = sites = __call__ = lambda self, *_: []", space)
    with pytest.raises(ConfigError, match="feature Typed is in no file.*: define it in a module"):
        space["Typed"]().identity()


def test_an_option_that_is_not_kept_is_named(written):
    class Forgetful(written("mine", "LogitPower")):
        def __init__(self, power: int = 1, other: int = 2) -> None:
            super().__init__(power)

    with pytest.raises(ConfigError, match=r"Forgetful does not keep \['other'\]: set self.other in __init__"):
        Forgetful().identity()


@pytest.mark.parametrize(("site", "layer"), [("model.layers.12", 12), ("h.3.output", 3), ("logits", None)])
def test_the_layer_is_in_the_name_of_the_site(site, layer):
    assert layer_of(site) == layer
