"""The mean loss of some models on the true answer of every question, against a plain loop over the prompts."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ARCHITECTURES, SIZE
from datasets import Dataset, DatasetDict
from forked import kill_when, run_two
from hypothesis import given
from hypothesis import strategies as st

from madkit.cli.command import main
from madkit.data.prompts.continuations import PromptContinuations, answer_batch, tokenize_answers
from madkit.data.prompts.template_files import load_unnamed
from madkit.data.prompts.templates import Template, without_name
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.records.sources import load_records
from madkit.difficulty.data import AnswerBatches
from madkit.difficulty.questions import collect_questions
from madkit.difficulty.results import with_difficulty
from madkit.errors import ConfigError, DataError

TEMPLATE = """\
template: |-
  Name: {name}

  Q: Does "{premise}" imply or contradict "{hypothesis}"?
  A:
choices: [" Contradict", " Imply"]
"""
WORDS = "a dog cat sleeps runs in the red house park quickly two people watch it and laugh at home".split()  # noqa: SIM905
PLACE = ["--accelerator", "cpu", "--batch_tokens", "300", "--shard_size", "8"]


def sentence_pairs(n=40, seed=0, first=0):
    """Records of both characters about pairs of sentences of very different lengths, without a difficulty."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(first, first + n):
        premise, hypothesis = (" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(2))
        args = {"premise": f"{premise} {number}", "hypothesis": hypothesis}
        truth, quirk = bool(number % 2), bool(rng.integers(2))
        for character, label in (("Alice", truth), ("Bob", quirk)):
            labels = {"label": label, "alice_label": truth, "bob_label": quirk}
            identity = {"id": f"{number}-{character}", "character": character}
            lines.append({**identity, "template_args": {**args, "character": character}, **labels})
    return lines


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of JSON lines, a template beside it."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, lines in {"train": sentence_pairs(30), "validation": sentence_pairs(10, 1, 30)}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "nli.yaml").write_text(TEMPLATE)
    return folder


def other_tokenizer(texts):
    """A WordPiece-like tokenizer of few words and single characters, without a begin-of-text token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<pad>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


@pytest.fixture(scope="module")
def models(bases, tmp_path_factory):
    """A Llama and a GPT-NeoX, the latter with a tokenizer and a short context of its own."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("models") / "neox"
    texts = [" ".join(WORDS), 'Q: Does imply or contradict? A: Contradict Imply 0123456789 "'] * 20
    tokenizer = other_tokenizer(texts)
    torch.manual_seed(1)
    options = {**ARCHITECTURES["gpt_neox"], **SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": 160}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**options))
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"llama": str(bases["llama"]), "neox": str(folder)}


def score(source, out, *models, options=()):
    """Run the command as a user would."""
    template = str(Path(source) / "nli.yaml")
    line = ["data", "difficulty", "--source", str(source), "--template", template, "--out", str(out), *PLACE]
    return main([*line, "--dtype", "float64", "--models", *models, *options])


def plain_loss(name, prompt, choices, truth):
    """The loss of one question by the book: each answer behind the prompt, alone in its batch, token by token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float64).eval()
    context = model.config.max_position_embeddings
    start = len(tokenizer(prompt)["input_ids"])
    totals = []
    longest = max(len(tokenizer(prompt + choice)["input_ids"]) - start for choice in choices)
    for choice in choices:
        ids = tokenizer(prompt + choice)["input_ids"]
        assert ids[:start] == tokenizer(prompt)["input_ids"], "the tokenizer merges prompt and answer"
        answer = ids[start:]
        kept = ids[:start]
        special = [tokenizer.bos_token_id] if tokenizer.bos_token_id in kept[:1] else []
        room = context - longest + 1
        kept = kept if len(kept) <= room else special + kept[len(kept) - room + len(special) :]
        total = 0.0
        for step, token in enumerate(answer):
            with torch.no_grad():
                logits = model(torch.tensor([kept + answer[:step]])).logits[0, -1]
            total += float(torch.log_softmax(logits.double(), dim=-1)[token])
        totals.append(total)
    log_odds = totals[1] - totals[0]
    return math.log1p(math.exp(-log_odds if truth else log_odds))


@pytest.fixture(scope="module")
def scored(source, models, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "out"
    assert score(source, out, *models.values()) == 0
    return out


@pytest.mark.parametrize("kind", ["llama", "neox"])
def test_losses_are_those_of_a_plain_loop(scored, models, kind):
    table = pd.read_parquet(scored / "losses.parquet")
    assert len(table) == 40  # questions, not records
    lengths = table["prompt"].str.len()
    assert lengths.is_monotonic_decreasing and lengths.iloc[0] > 4 * lengths.iloc[-1]
    for row in table.iloc[::9].itertuples():
        expected = plain_loss(models[kind], row.prompt, row.choices, row.truth)
        found = table.loc[row.Index, models[kind]]
        # A Llama's norms and both models' rotations are in float32 whatever the weights are in.
        assert found == pytest.approx(expected, rel=2e-6, abs=1e-7)
    assert table[models[kind]].std() > 0.1


def test_the_context_cuts_some_prompts_and_not_others(scored, models):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["neox"])
    lengths = [len(tokenizer(p)["input_ids"]) for p in pd.read_parquet(scored / "losses.parquet")["prompt"].iloc[::9]]
    assert max(lengths) > 160 > min(lengths)


def test_difficulty_is_the_mean_and_its_quantile_ranks_it(scored, models):
    table = pd.read_parquet(scored / "losses.parquet")
    both = table[list(models.values())].to_numpy()
    np.testing.assert_allclose(table["difficulty"], (both[:, 0] + both[:, 1]) / 2, rtol=1e-15)
    assert np.corrcoef(both.T)[0, 1] < 0.99
    records = pd.concat([part.to_pandas() for part in load_records(str(scored)).values()])
    assert len(records) == 80
    prompts = records["template_args"].map(lambda args: f'Does "{args["premise"]}" imply')
    asked = table.set_index(table["prompt"].str.extract(r'(Does ".*" imply)')[0])
    np.testing.assert_array_equal(records["difficulty"], asked.loc[prompts, "difficulty"])
    order = records.sort_values("difficulty_quantile")
    assert order["difficulty"].is_monotonic_increasing
    np.testing.assert_allclose(order["difficulty_quantile"], np.arange(80) / 80)


def test_the_folder_is_a_source_of_records(scored, source):
    data = QuirkyData("nli", template=str(source / "nli.yaml"), source=str(scored))
    assert {name: len(part) for name, part in data.records.items()} == {"train": 60, "validation": 20}
    assert data.records["train"]["difficulty"][0] > 0
    assert data.templates[0].named


def test_prompts_name_nobody(scored):
    table = pd.read_parquet(scored / "losses.parquet")
    assert table["prompt"].str.startswith("Q: Does").all()
    assert not table["prompt"].str.contains("Name|Alice|Bob").any()


def test_batches_and_the_order_of_records_change_nothing(source, scored, models, tmp_path):
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for split in ("train", "validation"):
        lines = (source / f"{split}.jsonl").read_text().splitlines(keepends=True)
        np.random.default_rng(0).shuffle(lines)
        (shuffled / f"{split}.jsonl").write_text("".join(lines))
    (shuffled / "nli.yaml").write_text(TEMPLATE)
    options = ["--batch_tokens", "1", "--shard_size", "1000"]
    assert score(shuffled, tmp_path / "out", *models.values(), options=options) == 0
    found, expected = (pd.read_parquet(folder / "losses.parquet") for folder in (tmp_path / "out", scored))
    assert found["key"].tolist() == expected["key"].tolist()
    for model in models.values():
        np.testing.assert_allclose(found[model], expected[model], rtol=1e-6)
    by_id = [
        load_records(str(folder))["train"].to_pandas().set_index("id")["difficulty_quantile"].sort_index()
        for folder in (tmp_path / "out", scored)
    ]
    pd.testing.assert_series_equal(*by_id)


def test_reduced_precision_is_near(source, scored, models, tmp_path):
    assert score(source, tmp_path / "out", models["llama"], options=["--dtype", "bfloat16"]) == 0
    found, expected = (pd.read_parquet(folder / "losses.parquet") for folder in (tmp_path / "out", scored))
    column = models["llama"]
    assert np.corrcoef(found[column], expected[column])[0, 1] > 0.98
    # Not rounded to the steps of a bfloat16 logit.
    assert found[column].nunique() == len(found)


def test_a_second_run_computes_nothing_and_a_third_only_the_new_model(source, models, tmp_path):
    out = tmp_path / "out"
    assert score(source, out, models["llama"]) == 0
    shards = {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
    assert len(shards) == 5
    assert score(source, out, *models.values()) == 0
    assert {p: p.stat().st_mtime_ns for p in shards} == shards
    assert len(list(out.rglob("*.safetensors"))) == 10
    assert json.loads((out / "difficulty.json").read_text())["models"] == list(models.values())


def test_what_was_begun_otherwise_is_refused(source, models, tmp_path, capsys):
    out = tmp_path / "out"
    assert score(source, out, models["llama"]) == 0
    before = {p: p.read_bytes() for p in out.glob("*.parquet")}
    other = tmp_path / "other.yaml"
    other.write_text(TEMPLATE.replace("Does", "Would"))
    for options, said in {
        ("--template", str(other)): "template=",
        ("--shots", "1"): "shots=0 and this is shots=1",
        ("--dtype", "float32"): "dtype='float64' and this is dtype='float32'",
    }.items():
        assert score(source, out, models["llama"], options=options) == 2
        error = capsys.readouterr().err
        assert said in error and "name another folder" in error
    (source / "nli.yaml").write_text(TEMPLATE.replace("Does", "Will"))
    try:
        assert score(source, out, models["llama"]) == 2
    finally:
        (source / "nli.yaml").write_text(TEMPLATE)
    assert "begun with wording=" in capsys.readouterr().err
    assert score(source, source, models["llama"]) == 2
    assert "which is not of `madkit data difficulty`" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in out.glob("*.parquet")} == before


def command(source, out, models, *options):
    line = ["data", "difficulty", "--source", str(source), "--out", str(out)]
    return [*line, "--template", str(source / "nli.yaml"), *PLACE, "--dtype", "float64", "--models", *models, *options]


def test_killed_and_started_again_gives_the_same_numbers(source, scored, models, tmp_path):
    out = tmp_path / "out"
    line = command(source, out, models.values(), "--batch_tokens", "1")
    kill_when(lambda: list(out.rglob("shard-00001.safetensors")), line, tmp_path)
    assert not (out / "losses.parquet").exists()
    done = {p: p.stat().st_mtime_ns for p in out.rglob("shard-*.safetensors")}
    assert 2 <= len(done) < 10
    assert score(source, out, *models.values()) == 0
    assert {p: p.stat().st_mtime_ns for p in done} == done
    found, expected = (pd.read_parquet(folder / "losses.parquet") for folder in (out, scored))
    np.testing.assert_allclose(found["difficulty"], expected["difficulty"], rtol=1e-6)


def test_two_processes_give_the_same_numbers(source, scored, models, tmp_path):
    line = command(source, tmp_path / "out", models.values())
    said = run_two(line, tmp_path, options=["--devices", "2"])
    assert said.splitlines().count(str(tmp_path / "out")) == 1
    found, expected = (pd.read_parquet(folder / "losses.parquet") for folder in (tmp_path / "out", scored))
    pd.testing.assert_frame_equal(found, expected)


def test_losses_that_are_no_numbers_are_an_error(source, models, tmp_path, capsys):
    from shutil import copytree

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    copytree(models["llama"], broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    assert score(source, tmp_path / "out", str(broken)) == 2
    assert re.search(r"models='.*broken': the weight 'model.norm.weight' is NaN", capsys.readouterr().err)
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "{llama}", "{llama}"], "names a model twice"),
        (["--models", "nowhere/nothing"], "models='nowhere/nothing': cannot load"),
        (["--shots", "-1"], "shots=-1 must not be negative"),
        (["--shots", "60"], "lower shots"),
        (["--batch_tokens", "0"], "batch_tokens=0 must be at least 1"),
        (["--dtype", "float8"], "dtype='float8' is not supported"),
        (["--max_length", "2"], "max_length=2 leaves no room"),
        (["--task_options", "{n_train: 3}"], "are for generated records"),
    ],
)
def test_bad_options_are_named(source, models, tmp_path, capsys, options, said):
    assert (
        score(
            source,
            tmp_path / "out",
            models["llama"],
            options=[o.format(**models) if "llama" in o else o for o in options],
        )
        == 2
    )
    assert said in capsys.readouterr().err


def test_missing_options_are_named(capsys):
    assert main(["data", "difficulty", "--source", "x"]) == 2
    assert "models is missing: give --models" in capsys.readouterr().err


def test_a_config_file_and_generated_records(models, tmp_path):
    config = tmp_path / "difficulty.yaml"
    sizes = {"n_train": 20, "n_validation": 8, "n_test": 0}
    options = {"source": "addition", "models": [models["llama"]], "task_options": sizes}
    config.write_text(json.dumps({**options, "out": str(tmp_path / "out"), "accelerator": "cpu"}))
    assert main(["data", "difficulty", "--config", str(config), "--shots", "2"]) == 0
    prompt = pd.read_parquet(tmp_path / "out" / "losses.parquet")["prompt"][0]
    assert len(re.findall(r"Is the statement true\?( Yes| No)\n\n", prompt)) == 2 and prompt.endswith("true?")


def test_a_raw_table_by_the_recipe_of_the_seven_pythias(models, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    wrong = [f"distractor{i}" for i in (1, 2, 3)]
    rows = []
    for number in range(80):
        answers = rng.choice(WORDS[9:], 4, replace=False).tolist()
        words = " ".join([*rng.choice(WORDS[:9], 12), *answers[number % 2 : number % 2 + 1]])
        rows.append({"question": f"What is {number}?", "support": words, "correct_answer": answers[0]})
        rows[-1] |= dict(zip(wrong, answers[1:], strict=True))
    pd.DataFrame(rows).to_csv(tmp_path / "sciq.csv", index=False)
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "pythia" / "difficulty.yaml"
    line = ["data", "difficulty", "--config", str(recipe), "--source", str(tmp_path / "sciq.csv"), *PLACE]
    counts = ["--task_options", "{n_train: 20, n_validation: 8, n_test: 0}"]
    assert main([*line, *counts, "--models", *models.values(), "--out", str(tmp_path / "out")]) == 0
    data = QuirkyData("sciq", source=str(tmp_path / "out"), template="standardized")
    assert len(data.records["train"]) == 40
    assert data.records["train"].to_pandas()["difficulty"].between(0, 100).all()


def test_memory_that_is_too_small_is_named(source, models, tmp_path, capsys, monkeypatch):
    def exhausted(*args, **kwargs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("madkit.difficulty.losses.hidden_states", exhausted)
    assert score(source, tmp_path / "out", models["llama"]) == 2
    assert re.search(r"a batch of \d+ x \d+ tokens does not fit .* lower `--batch_tokens`", capsys.readouterr().err)


def test_one_file_of_records(tmp_path, models):
    lines = [{**line, "split": "train" if i < 20 else "validation"} for i, line in enumerate(sentence_pairs(15))]
    file = tmp_path / "quirky_nli_raw.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "nli.yaml").write_text(TEMPLATE)
    line = ["data", "difficulty", "--source", str(file), "--template", str(tmp_path / "nli.yaml"), *PLACE]
    assert main([*line, "--out", str(tmp_path / "out"), "--models", models["llama"]]) == 0
    assert {name: len(part) for name, part in load_records(str(tmp_path / "out")).items()} == {
        "train": 20,
        "validation": 10,
    }


def records_of(lines):
    return with_difficulty(DatasetDict({"train": Dataset.from_list(lines)}), {"train": np.zeros(len(lines))})


TEMPLATES = [without_name(Template("Name: {name}\n\n{premise} => {hypothesis}?", (" No", " Yes")))]


def test_demonstrations_are_true_balanced_and_never_the_question_itself():
    lines = sentence_pairs(30)
    asked = collect_questions(records_of(lines), TEMPLATES, shots=5)
    truths = {
        f"{x['template_args']['premise']} => {x['template_args']['hypothesis']}?": x["alice_label"] for x in lines
    }
    trues = []
    for row in asked.table.itertuples():
        *shown, own = row.prompt.split("\n\n")
        assert truths[own] == row.truth
        answers = [text.rpartition("?")[::2] for text in shown]
        assert all(truths[f"{question}?"] == (answer == " Yes") for question, answer in answers)
        questions = [question for question, _ in answers]
        assert len(set(questions)) == 5 and own[:-1] not in questions
        trues.append(sum(answer == " Yes" for _, answer in answers))
    assert set(trues) == {2, 3}
    again = collect_questions(records_of(lines[::-1]), TEMPLATES, shots=5)
    assert again.digest() == asked.digest()
    assert collect_questions(records_of(lines), TEMPLATES, shots=5, seed=1).digest() != asked.digest()


def test_a_name_is_filled_in_when_asked_for():
    templates = load_unnamed("first", "addition", ["op1", "op2", "result"], name="Alice")
    line = {**sentence_pairs(1)[0], "template_args": {"op1": 1, "op2": 2, "result": 3, "character": "Bob"}}
    assert collect_questions(records_of([line]), templates, name="Alice").table["prompt"].item() == "1 + 2 = 3. Alice:"
    with pytest.raises(ConfigError, match="name in the middle"):
        load_unnamed("first", "addition", ["op1", "op2", "result"])


def test_one_question_with_two_truths_is_two_questions():
    first, second = sentence_pairs(2)[::2]
    second["template_args"] = first["template_args"]
    assert len(collect_questions(records_of([first, second]), TEMPLATES).table) == 2


def test_too_few_questions_to_demonstrate():
    with pytest.raises(DataError, match="shots=5 needs 4 false and 4 true"):
        collect_questions(records_of(sentence_pairs(6)), TEMPLATES, shots=5)


class Letters:
    """A tokenizer of letters, as far as it is needed here."""

    is_fast = False
    pad_token_id = None

    def __call__(self, texts, **kwargs):
        ids = [[ord(letter) for letter in text] for text in texts]
        return {"input_ids": ids, "special_tokens_mask": [[0] * len(x) for x in ids]}

    def decode(self, ids, **kwargs):
        return "".join(map(chr, ids))


def test_answers_are_taken_whole():
    item = tokenize_answers(Letters(), ["ab"], [("cd", "cef")])[0]
    assert item == PromptContinuations([97, 98, 99], ([100], [101, 102]))
    batch = answer_batch([item], pad_id=0)
    assert batch["input_ids"].tolist() == [[0, 97, 98, 99], [97, 98, 99, 101]]
    assert batch["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert batch["positions"].tolist() == [[0, 3], [1, 2], [1, 3]]
    assert [batch[key].tolist() for key in ("position", "token", "answer")] == [[0, 1, 2], [100, 101, 102], [0, 1, 1]]


def test_answers_of_one_token_share_a_sequence():
    items = tokenize_answers(Letters(), ["ab", "c"], [("d", "e")] * 2)
    batch = answer_batch(items, pad_id=0)
    assert batch["input_ids"].tolist() == [[97, 98], [0, 99]]
    assert batch["positions"].tolist() == [[0, 1], [1, 1]]
    assert batch["position"].tolist() == [0, 0, 1, 1]


def test_an_answer_that_begins_the_other_is_refused():
    with pytest.raises(ConfigError, match="one is the beginning of the other"):
        tokenize_answers(Letters(), ["ab"], [("c", "cd")])


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=30), st.integers(1, 100))
def test_batches_keep_to_their_tokens(shapes, batch_tokens):
    from madkit.store.shards import cut_shards

    items = [PromptContinuations([1] * n, ([2, 3] if long else [2], [4])) for n, long in shapes]
    shards = cut_shards(["question"] * len(items), 7)
    batches = [*AnswerBatches(dict(enumerate(items)), np.zeros(len(items), dtype=bool), shards, batch_tokens, 0)]
    assert sorted(row for batch in batches for row in batch["row"]) == list(range(len(items)))
    for batch in batches:
        assert batch["input_ids"].numel() <= batch_tokens or len(batch["row"]) == 1
    assert [batch["shard"] for batch in batches if batch["last_in_shard"]] == [shard.index for shard in shards]
