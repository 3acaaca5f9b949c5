"""What is configured by its constructor has a name and a config from it."""

import pytest

from madkit.errors import ConfigError
from madkit.runs.configured import Configured


class TopLatents(Configured):
    def __init__(self, k: int = 3, *, normalize: bool = False, limits: dict | None = None) -> None:
        self.k, self.normalize, self.limits = k, normalize, limits


class Renamed(TopLatents):
    short = "renamed"


def test_the_config_makes_the_same_object_again():
    config = TopLatents(5, normalize=True).config
    assert config == {"k": 5, "normalize": True, "limits": None} == TopLatents(**config).config
    assert TopLatents(5).extra_repr() == "k=5, normalize=False, limits=None"


def test_the_name_is_the_stem_and_what_is_not_at_its_default():
    names = [TopLatents().name, TopLatents(5, normalize=True).name, Renamed(limits={"upper": 2}).name]
    assert names == ["top_latents", "top_latents_k5_normalize", "renamed_limits_upper2"]


def test_without_a_constructor_there_are_no_options():
    class Plain(Configured):
        pass

    assert Plain().config == {} and Plain().name == "plain"


def test_an_argument_that_is_not_kept_is_named():
    class Forgetful(Configured):
        def __init__(self, k: int = 3) -> None:
            pass

    with pytest.raises(ConfigError, match=r"Forgetful does not keep \['k'\]: set self.k in __init__"):
        _ = Forgetful().config
