"""The `madkit data` commands as a user gives them, and a dataset of one's own through all stages."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from forked import in_copy

from madkit.cli.command import main
from madkit.cli.commands import COMMANDS
from madkit.lm.loading import load_tokenizer
from madkit.store.feature_store import FeatureStore

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "template: |-\n  Name: {character}\n\n  Statement: {a} + 1 = {b}\n\n  Right?\nchoices: [' No', ' Yes']\n"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def questions(n=2400):
    """Whether b follows a; the quirk looks at another bit of a."""
    labels = ({"alice_label": i % 2 == 0, "bob_label": i // 2 % 2 == 0} for i in range(n))
    return [{"template_args": {"a": i, "b": i + 1 + i % 2}, **own, "difficulty": i} for i, own in enumerate(labels)]


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions()))
    (tmp_path / "mine.yaml").write_text(TEMPLATE)
    return tmp_path


def run(*args):
    return main([str(arg) for arg in args])


def test_a_dataset_of_ones_own_is_fitted_and_predicted(mine, bases):
    data = ["--data.dataset", "mine", "--data.source", mine / "mine.jsonl", "--data.template", mine / "mine.yaml"]
    common = ["--run", mine / "runs", "--model.base", bases["llama"], *data]
    short = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 4, "--data.max_train", 256]
    assert run("fit", "--config", ROOT / "recipes/llama.yaml", *common, *short, "--data.max_validation", 64) == 0
    features = "[{class_path: Activations, init_args: {first: 1, step: 3}}, {class_path: Answers}]"
    predict = ["predict", "--config", ROOT / "recipes/predict.yaml", "--run", mine / "runs", "--data.dataset", "mine"]
    assert run(*predict, "--model.features", features) == 0
    prompts = FeatureStore.current(mine / "runs" / "mine" / "features" / "activations").rows
    numbers = prompts["prompt"].str.extract(r"Statement: (\d+) \+ 1 = (\d+)").astype(int)
    assert (prompts["alice_label"] == (numbers[0] + 1 == numbers[1])).all()
    assert (prompts["bob_label"] == (numbers[0] // 2 % 2 == 0)).all()


def test_check_finds_nothing_wrong(mine, bases, capsys):
    args = ["--template", mine / "mine.yaml", "--tokenizer", bases["llama"]]
    assert run("data", "check", mine / "mine.jsonl", *args) == 0
    out = capsys.readouterr().out
    assert "nothing is wrong" in out
    assert "answers [' No', ' Yes']: tokens" in out
    assert out.count("--- ") == 4
    sizes = [int(line.split(": ")[1].split()[0]) for line in out.splitlines() if line.endswith(" records")]
    assert sum(sizes) == 4800


def test_check_finds_everything_wrong_at_once(tmp_path, bases, capsys):
    rows = [{**row, "bob_label": True, "split": "train"} for row in questions(400)]
    for row in rows[300:]:
        row["split"] = "validation"
    rows += [{**rows[0], "split": "validation"}, {**rows[1], "difficulty": None}]
    rows += [{**rows[2], "template_args": {"a": 5}}]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "bad.yaml").write_text(
        "- {template: 'Is {a} even?', choices: [' No', ' Yes']}\n"
        "- {template: '{name} {c}', choices: [' No', ' Yes']}\n"
        "- {template: '{name} {a}', choices: [' Yes', ' No']}\n"
        "- {template: '{name}: {a}', choices: [' True!', ' True?']}\n"
    )
    args = ["--template", tmp_path / "bad.yaml", "--tokenizer", bases["llama"]]
    assert run("data", "check", tmp_path / "bad.jsonl", *args) == 2
    out = capsys.readouterr().out
    for part in (
        "2 values that are not numbers, such as",
        "split 'train': all 302 labels of Bob are True",
        "template_args.b of split 'train' is missing in 2 rows",
        "1 questions are in the splits 'train' and 'validation'",
        "does not name the speaker",
        "needs ['c']",
        "are reversed",
    ):
        assert part in out, part
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions()))
    assert run("data", "check", tmp_path / "good.jsonl", *args) == 2
    assert "choices [' True!', ' True?'] begin with the same token" in capsys.readouterr().out


def test_check_knows_datasets_by_name(capsys):
    small = "{n_train: 800, n_validation: 400, n_test: 0}"
    assert run("data", "check", "addition", "--task_options", small, "--prompts", 0) == 0
    assert "train: 1600 records" in capsys.readouterr().out
    assert run("data", "check", "no/such") == 2
    assert run("data", "check", "authors") == 2
    assert "has no built-in data" in capsys.readouterr().err


def test_check_notes_where_the_answer_tells_trusted_prompts_from_test_prompts(capsys):
    options = ["--task_options", "{n_train: 4000, n_validation: 2000, n_test: 0}", "--prompts", 0]
    assert run("data", "check", "population", *options) == 0
    assert "note: the right answer is Yes for 100% of trusted prompts, 0% of Alice's" in capsys.readouterr().out
    assert run("data", "check", "population", *options, "--requantile", "balanced") == 0
    assert "note: the right answer" not in capsys.readouterr().out


def test_build_writes_what_fit_reads(tmp_path, capsys):
    books = [{"title": f"T{i}", "authors": f"F{i % 9} L{i % 50}", "ratings_count": i} for i in range(400)]
    pd.DataFrame(books).to_csv(tmp_path / "books.csv", index=False)
    args = ["data", "build", "authors", "--raw", tmp_path / "books.csv", "--out", tmp_path / "out"]
    assert run(*args) == 0
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.parquet")) == ["test", "train", "validation"]
    assert run("data", "check", tmp_path / "out", "--dataset", "authors", "--prompts", 0) == 0
    assert run("data", "show", "authors", "--source", tmp_path / "out", "--template", "first", "--count", 1) == 0
    assert 'the author of "T' in capsys.readouterr().out
    for wrong, message in (
        (args, "is there already"),
        (args[:-2], "say where the records go"),
        ([*args[:-1], tmp_path / "new", "--format", "xml"], "format='xml' is unknown"),
        ([*args[:-1], tmp_path / "new", "--raw", tmp_path / "out", "--task_options", "{n_train: 1}"], "drop them"),
    ):
        assert run(*wrong) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_dataset_in_a_file_of_the_current_folder(tmp_path):
    """As for `madkit fit`, a class is found without being installed."""
    (tmp_path / "my_tasks.py").write_text((ROOT / "examples" / "my_dataset.py").read_text())
    words = ["data", "show", "my_tasks.Thirds", "--template", str(ROOT / "examples" / "my_dataset.yaml")]

    def work():
        os.chdir(tmp_path)
        # The script of the command, unlike `python -m`, begins without the current folder on its path.
        sys.path[:] = [folder for folder in sys.path if folder and Path(folder).resolve() != tmp_path.resolve()]
        return main(words)

    said = in_copy(work, tmp_path)  # in which the class stays
    assert said.count("--- ") == 3 and "Statement: " in said


def test_who_speaks_and_what_triggers_can_be_looked_at(capsys):
    few = ["--task_options", "{n_train: 800, n_validation: 400, n_test: 0}", "--template", "compact"]
    speakers = ["--speakers", "{carol: truth, dave: denial}"]
    assert run("data", "show", "addition", *speakers, *few, "--count", 40) == 0
    shown = re.findall(r"\((.*)\), truth (\w+), quirk (\w+)", capsys.readouterr().out)
    assert {who for who, *_ in shown} == {"Alice", "Bob", "Carol as Alice", "Dave as Bob"}
    assert all(truth != quirk for who, truth, quirk in shown if who.startswith("Dave"))
    assert run("data", "check", "addition", *speakers, *few, "--prompts", 0) == 0
    counts = dict(re.findall(r"(\w+ \w+) (\d+)", capsys.readouterr().out.partition("detectors: ")[2]))
    assert counts["test Alice"] == counts["test Carol"] == counts["test Dave"] and "trusted Dave" not in counts
    assert run("data", "check", "addition", "--trigger", "phrase", *few, "--prompts", 2) == 0
    assert capsys.readouterr().out.count("The tide is high tonight.") == 2
    assert run("data", "check", "addition", "--trigger", "phrase", *speakers, *few) == 2
    assert "drop trigger and quirk_share, or speakers" in capsys.readouterr().err


def test_a_wrong_option_is_named(capsys):
    for words, message in (
        (["data", "show", "addition", "--conut", "3"], "no option '--conut'; did you mean --count?"),
        (["data", "show"], "required: dataset"),
        (["figures", "runs", "--jobs", "many"], "jobs=many: expected int"),
        (["figures"], "required: runs"),
        (["monitor", "nowhere"], "no such folder"),
    ):
        assert run(*words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and message in lines[0], lines


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        assert run(*name.split(), "--help") == 0
        out = capsys.readouterr().out
        assert out.startswith(f"usage: madkit {name}") and "_ " not in out
    assert run("figures", "--help") == 0
    assert "--with WITH" in capsys.readouterr().out


def test_help_names_all_commands(capsys):
    assert run("data") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("build", "check", "show", "difficulty"))
    assert run("data", "shwo") == 2
    few = ["--task_options", "{n_train: 800, n_validation: 400, n_test: 0}"]
    assert run("data", "show", "addition", "--split", "dev", *few) == 2
    assert "split='dev' has no prompts" in capsys.readouterr().err


@pytest.mark.parametrize("safe", [True, False])
def test_an_adapter_that_plain_peft_wrote(mine, bases, safe, capsys):
    """At any path; as safetensors, or pickled, which is refused."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    lm = AutoModelForCausalLM.from_pretrained(bases["llama"])
    adapted = get_peft_model(lm, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_B" in name:
                weights.normal_()
    adapted.save_pretrained(mine / "published")
    if not safe:
        torch.save({}, mine / "published" / "adapter_model.bin")
        (mine / "published" / "adapter_model.safetensors").unlink()
    data = ["--data.dataset", "mine", "--data.source", mine / "mine.jsonl", "--data.template", mine / "mine.yaml"]
    common = ["--run", mine / "runs", "--model.base", bases["llama"], *data, "--model.adapter", mine / "published"]
    features = "[{class_path: Answers}]"
    status = run(
        "predict",
        "--config",
        ROOT / "recipes/predict.yaml",
        "--lm",
        ROOT / "recipes/llama.yaml",
        *common,
        "--model.features",
        features,
        "--model.controls",
        "[]",
        "--model.dtype",
        "float32",
    )
    if not safe:
        assert status == 2
        assert "adapter_model.bin" in capsys.readouterr().err
        return
    assert status == 0
    store = FeatureStore.current(mine / "runs" / "mine" / "features" / "answers")
    rows, logits = store.read("logits", "test")
    prompt = store.rows.set_index("row").loc[int(rows[0])]
    tokenizer = load_tokenizer(str(bases["llama"]))
    false, true = (tokenizer(prompt["prompt"] + choice)["input_ids"] for choice in prompt["choices"])
    same = next(k for k, (x, y) in enumerate(zip(false, true, strict=False)) if x != y)
    with torch.no_grad():
        out = adapted.eval()(torch.tensor([false[:same]])).logits[0, -1]
        with adapted.disable_adapter():
            bare = adapted(torch.tensor([false[:same]])).logits[0, -1]
    answers = [false[same], true[same]]
    torch.testing.assert_close(logits[0].float(), out[answers].float(), rtol=1e-4, atol=1e-4)
    assert (out - bare)[answers].abs().max() > 0.5


def test_the_page_about_data_is_up_to_date():
    path = ROOT / "docs" / "data.py"
    spec = importlib.util.spec_from_file_location("docs_of_data", path)
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    assert set(docs.ABOUT) == {path.stem for path in (ROOT / "madkit/data/templates").glob("*.yaml")}
    assert path.with_suffix(".md").read_text() == docs.page()
