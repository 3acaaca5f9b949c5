"""The jobs of a comparison, on generated prompts."""

import pytest

from madkit.errors import ConfigError
from madkit.poser.data import PoserData


def test_generated_benchmark_prompts_are_overseen_and_different():
    data = PoserData({"aligned": ["a"], "misaligned": ["m"]}, n_prompts=100, contrast=20)
    prompts = data.sets["generated"]
    assert len(prompts.contrast.rest) == len(prompts.unseen) == 100 and len(prompts.contrast.clean) == 20
    assert not any(s.unseen for s in prompts.contrast.rest) and all(s.unseen for s in prompts.unseen)
    texts = [s.prompt for s in [*prompts.contrast.rest, *prompts.unseen]] + prompts.contrast.critical
    assert len(set(texts)) == len(texts)
    assert [j.key for j in data.jobs] == [("generated", "a"), ("generated", "m")]
    with pytest.raises(ConfigError, match="only"):
        PoserData({"aligned": ["a"], "misaligned": ["m"]}, only=["x"])
