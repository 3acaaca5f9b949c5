"""Models are loaded from folders."""

from madkit.lm import loading
from madkit.lm.text_decoder import layer_names


def test_a_skeleton_has_the_names_and_no_memory(bases):
    lm = loading.skeleton(str(bases["gpt_neox"]))
    assert layer_names(lm)[3] == "gpt_neox.layers.3"
    assert all(p.is_meta for p in lm.parameters())
