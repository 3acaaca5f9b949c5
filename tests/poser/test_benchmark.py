"""The benchmark: rows of both formats, contrast pairs, lists of pairs."""

import json

import pytest
from scenario_rows import LAYOUT, TYPED, published_row, row

from madkit.errors import ConfigError, DataError
from madkit.poser.benchmark.benchmark_file import read_benchmark, write_benchmark
from madkit.poser.benchmark.contrast_pairs import contrast_pairs
from madkit.poser.benchmark.model_pairs import ModelPair, models_of, read_pairs
from madkit.poser.benchmark.scenario import render


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
    with pytest.raises(ConfigError, match="does not say where 'm-0' is"):
        models_of([ModelPair("a-0", "m-0", "x")], {"a-0": "here"}, None)
