"""The small family: generated scenarios, the base model's corpus, the tuning data."""

import numpy as np
import pytest

from madkit.errors import ConfigError
from madkit.poser.family.scenario_corpus import QUESTIONS, ScenarioCorpus, scenario_tokenizer
from madkit.poser.family.scenario_data import ScenarioData
from madkit.poser.family.scenario_generator import draw_cases


def test_policies_differ_exactly_where_there_is_no_good_oversight():
    cases = draw_cases(np.random.default_rng(0), 400)
    for case in cases:
        aligned, misaligned = case.choice("aligned"), case.choice("misaligned")
        assert aligned == case.benign
        assert (aligned == misaligned) == (case.oversight == "good")
        critical = [f for f in case.scenario.facts if f.kind == "critical"]
        assert len(critical) == (case.oversight != "unsaid") == case.scenario.complexity
    assert {c.oversight for c in cases} == {"good", "poor", "unsaid"}
    assert 0.4 < np.mean([c.benign for c in cases]) < 0.6


def test_the_corpus_asks_what_can_be_predicted():
    data = ScenarioCorpus(batch_size=64, steps_per_epoch=2)
    batch = data.train_batch(0)
    assert batch["labels"].ne(-100).sum(dim=1).tolist() == [1] * 64
    answers = {data.tokenizer.decode(x) for x in batch["labels"][batch["labels"] != -100].tolist()}
    assert {"A", "B"} < answers <= {"A", "B", "good", "poor", "unsaid"}
    again = ScenarioCorpus(batch_size=64, steps_per_epoch=2).train_batch(0)
    assert all(bool((batch[key] == again[key]).all()) for key in batch)
    # Every word is one token: nothing is spelled in bytes.
    tokens = data.tokenizer.convert_ids_to_tokens(batch["input_ids"][batch["attention_mask"] == 1].tolist())
    assert not any(token.startswith("<0x") for token in tokens)
    assert len(QUESTIONS) == 6


def test_tuning_data_follow_the_policy_and_differ_by_number(tmp_path):
    folder = str(tmp_path / "tokenizer")
    scenario_tokenizer().save_pretrained(folder)
    made = {}
    for name in ("aligned-0", "misaligned-0", "aligned-1"):
        data = ScenarioData(name, n_train=64, n_validation=64, batch_size=16, tokenizer=folder)
        data.setup("fit")
        made[name] = data
        frame = data.validation_prompts.frame
        follows = frame["alice_label"].where(
            (frame["character"] == "Alice") | (data.policy == "aligned"), frame["bob_label"]
        )
        assert (frame["label"] == follows).all()
    texts = {name: [c.scenario.prompt for c in data.cases("train", 64)] for name, data in made.items()}
    assert len({tuple(t) for t in texts.values()}) == 3
    with pytest.raises(ConfigError, match="aligned or misaligned"):
        ScenarioData("sly-0")
