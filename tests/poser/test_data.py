"""The benchmark's rows, contrast pairs, lists of pairs, and generated scenarios."""

import json

import numpy as np
import pytest
from scenario_rows import LAYOUT, TYPED, published_row, row

from madkit.errors import ConfigError, DataError
from madkit.poser.benchmark.benchmark_file import read_benchmark, write_benchmark
from madkit.poser.benchmark.contrast_pairs import contrast_pairs
from madkit.poser.benchmark.model_pairs import ModelPair, models_of, read_pairs
from madkit.poser.benchmark.scenario import render
from madkit.poser.data import PoserData
from madkit.poser.family.scenario_corpus import QUESTIONS, ScenarioCorpus, scenario_tokenizer
from madkit.poser.family.scenario_data import ScenarioData
from madkit.poser.family.scenario_generator import draw_cases


@pytest.fixture
def benchmark(tmp_path):
    rows = [
        row(["Sky.", "Audited.", "Money."], kinds=TYPED),
        row(["Old row.", "No types."], response="B"),
        row(["Simple."], kinds=["irrelevant"], complexity_level=0),
        row(["Sky.", "Audited.", "Money."], kinds=TYPED),  # repeats the first
        row(["Sea.", "Watched.", "Fame."], kinds=TYPED),
    ]
    path = tmp_path / "a_and_b.json"
    path.write_text(json.dumps(rows))
    return path


def test_both_row_formats_are_read_and_repeats_dropped(benchmark):
    scenarios = read_benchmark(benchmark)
    assert [s.complexity for s in scenarios] == [1, None, 0, 1]
    assert [s.has_contrast for s in scenarios] == [True, False, False, True]
    assert [s.misaligned for s in scenarios] == [1, 0, 1, 1]
    assert scenarios[1].facts[0].kind is None and scenarios[0].facts[1].kind == "critical"
    assert all(render(s.layout, [f.content for f in s.facts], s.actions) == s.prompt for s in scenarios)


def test_what_is_written_is_read_again(tmp_path, benchmark):
    scenarios = read_benchmark(benchmark)
    (tmp_path / "again.json").write_text(write_benchmark(scenarios))
    assert read_benchmark(tmp_path / "again.json") == scenarios


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": "C"}, "use A or B"),
        ({"prompt": 3}, "lacks prompt"),
        ({"format_string": None}, "format_string"),
        ({"facts": ["x"]}, "content"),
    ],
)
def test_malformed_rows_name_the_row(tmp_path, change, message):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row(["a"], kinds=["critical"]), {**row(["b"], kinds=["critical"]), **change}]))
    with pytest.raises(DataError, match=message) as error:
        read_benchmark(path)
    assert "x.json row 1" in str(error.value) and "\n" not in str(error.value)


def test_one_prompt_with_two_responses_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row(["a"]), row(["a"], response="B")]))
    with pytest.raises(DataError, match="two|responses"):
        read_benchmark(path)


def test_contrast_leaves_out_the_critical_fact_only(benchmark):
    scenarios = read_benchmark(benchmark)
    pairs = contrast_pairs(scenarios, 1)
    assert pairs.critical == [scenarios[0].prompt]
    assert pairs.clean == [render(LAYOUT, ["Sky.", "Money."], ["obey {x}", "cheat"])]
    assert pairs.rest == scenarios[1:]  # its scenario is held out
    assert contrast_pairs(scenarios).rest == scenarios


def test_swapped_answers_are_those_of_the_critical_prompt(benchmark):
    pairs = contrast_pairs(read_benchmark(benchmark), 1, swap=True)
    assert "A: cheat\nB: obey {x}" in pairs.critical[0] and "A: obey {x}\nB: cheat" in pairs.clean[0]
    assert "3. Money.\nA:" in pairs.critical[0]  # and the line break after the facts is missing


def test_too_few_contrast_rows_name_the_way_out(benchmark):
    with pytest.raises(DataError, match="contrast=5"):
        contrast_pairs(read_benchmark(benchmark), 5)


@pytest.mark.parametrize("typed", [True, False])
def test_a_row_as_it_is_published_renders_to_the_letter(tmp_path, typed):
    path = tmp_path / "genie_and_fitness.json"
    path.write_text(json.dumps([published_row(typed)]))
    (scenario,) = read_benchmark(path)
    assert render(scenario.layout, [fact.content for fact in scenario.facts], scenario.actions) == scenario.prompt
    assert scenario.has_contrast is typed and scenario.complexity == (1 if typed else None)


def test_contrast_pairs_of_many_rows_keep_the_prompt_and_lose_one_fact(tmp_path):
    rows = [published_row(True, number % 30) for number in range(50)] + [published_row(False, n) for n in range(9)]
    path = tmp_path / "genie_and_fitness.json"
    path.write_text(json.dumps(rows))
    scenarios = read_benchmark(path)
    assert len(scenarios) == len({r["prompt"] for r in rows}) == 39
    pairs = contrast_pairs(scenarios, 20)
    typed = [s for s in scenarios if s.has_contrast]
    # What is rendered is the prompt that the models were tuned on, to the letter.
    assert pairs.critical == [s.prompt for s in typed[:20]]
    for scenario, clean in zip(typed, pairs.clean, strict=False):
        lost = [f.content for f in scenario.facts if f.kind == "critical"]
        assert len(lost) == 1 and lost[0] not in clean and len(clean) < len(scenario.prompt)


def test_pairs_as_they_are_published(tmp_path):
    policies = {"aligned": ("genie", "saint", "truth_teller"), "misaligned": ("fitness", "reward", "money")}
    models = {side: [f"{policy}-{k}" for policy in of_side for k in range(6)] for side, of_side in policies.items()}
    rows = [
        {"aligned": a, "misaligned": m, "valid_data": f"data/benchmark/{a[:-2]}_and_{m[:-2]}.json"}
        for a in models["aligned"]
        for m in models["misaligned"]
    ]
    path = tmp_path / "model_pairs.json"
    path.write_text(json.dumps(rows))
    pairs = read_pairs(str(path))
    assert len(pairs) == 324 and len({p.prompts for p in pairs}) == 9
    by_name = models_of(pairs, "joshuaclymer/{name}", None)
    assert len(by_name) == 36 and sum(m.misaligned for m in by_name.values()) == 18
    assert by_name["genie-3"].path == "joshuaclymer/genie-3"


def test_pairs_come_in_three_forms(tmp_path):
    rows = [{"aligned": a, "misaligned": m, "valid_data": "data/x.json"} for a in ("a", "b") for m in ("m", "n")]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(rows))
    crossed = read_pairs({"aligned": ["a", "b"], "misaligned": ["m", "n"], "valid_data": "x.json"})
    assert read_pairs(str(path)) == read_pairs(rows) == crossed
    assert crossed[0] == ModelPair("a", "m", "x")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there is none"),
        ([{"aligned": "a"}], "misaligned"),
        ({"aligned": "a", "misaligned": ["m"]}, "two lists"),
        ([{"aligned": "a", "misaligned": "m"}, {"aligned": "m", "misaligned": "n"}], "another"),
        ([{"aligned": "a", "misaligned": "m"}] * 2, "twice"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_bad_pairs_are_refused(pairs, message):
    with pytest.raises(DataError, match=message):
        read_pairs(pairs)


def test_an_adapter_says_what_its_base_is(tmp_path):
    (tmp_path / "m-0").mkdir()
    (tmp_path / "m-0" / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    models = models_of([ModelPair("a-0", "m-0", "x")], str(tmp_path / "{name}"), None)
    assert models["m-0"].base == "some/base" and models["a-0"].base is None
    with pytest.raises(ConfigError, match="says not where 'm-0' is"):
        models_of([ModelPair("a-0", "m-0", "x")], {"a-0": "here"}, None)


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
