"""Prompts as users have them become the tokens that the model is to read."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from madkit.errors import ConfigError, DataError
from madkit.monitoring.held_out import hold_out
from madkit.monitoring.prompt_source import read_prompts
from madkit.monitoring.prompt_tokens import longest, tokenize

TEXTS = ["12 + 3 = 15", " leading, and trailing ", "a, \"quoted\" one", "Ünïcode \u000c page"]  # fmt: skip
CHAT = [{"role": "user", "content": "1 + 1?"}]
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[go]{% endif %}"
)


@pytest.fixture
def tokenizer(bases):
    return AutoTokenizer.from_pretrained(bases["llama"])


def sources(folder):
    frame = pd.DataFrame({"prompt": TEXTS, "id": range(4)})
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "a.parquet")
    frame.to_csv(folder / "b.csv.gz", index=False)
    (folder / "a.txt").write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8")
    (folder / "parts").mkdir()
    frame[:2].to_parquet(folder / "parts" / "0.parquet")
    frame[2:].to_json(folder / "parts" / "1.jsonl", orient="records", lines=True)
    dataset = datasets.Dataset.from_pandas(frame)
    dataset.save_to_disk(str(folder / "saved"))
    datasets.DatasetDict(train=dataset, other=dataset).save_to_disk(str(folder / "splits"))
    files = [folder / name for name in ("a.csv", "a.jsonl", "a.parquet", "b.csv.gz", "a.txt", "parts", "saved")]
    return [*map(str, files), files[0], TEXTS, tuple(TEXTS), np.array(TEXTS), frame, frame["prompt"], dataset]


def test_prompts_are_the_same_wherever_they_are(tmp_path, capsys):
    for source in sources(tmp_path):
        assert read_prompts(source) == TEXTS, source
    assert read_prompts(str(tmp_path / "splits"), split="other") == TEXTS
    assert read_prompts(datasets.load_from_disk(str(tmp_path / "splits"))) == TEXTS * 2
    assert read_prompts(pd.DataFrame({"text": TEXTS}), column="text") == TEXTS


def test_chats_are_the_same_wherever_they_are(tmp_path):
    frame = pd.DataFrame({"messages": [CHAT, CHAT * 2]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for source in (str(tmp_path / "a.parquet"), str(tmp_path / "a.jsonl"), frame, [CHAT, CHAT * 2],
                   datasets.Dataset.from_pandas(frame)):  # fmt: skip
        assert read_prompts(source) == [CHAT, CHAT * 2]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no such file.jsonl", "is not there"),
        ("How are you today?", "is no file: give a list of prompts"),
        (["a", ""], "prompts: number 2 is empty"),
        (["a", None], "number 2 is 'None', which is no prompt"),
        ([[{"role": "user"}]], "which is no message"),
        (["a", "cut \ud83d"], r"^prompts: number 2 holds '\\ud83d' at place 4, half of a character"),
        ([[{"role": "\udc00", "content": "a"}]], "number 1, role, holds"),
        ([[{"role": "user", "content": "a \udc00"}]], "number 1, content, holds"),
        ([], "holds no prompts"),
        (7, "is of type int"),
        (pd.DataFrame({"text": ["a"]}), r"has no column `prompt` or `messages`: it has \['text'\]"),
    ],
)
def test_what_is_no_prompt_is_refused_in_a_line(source, message):
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        read_prompts(source)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(ConfigError, match=r"must end in \.txt or one of"):
        read_prompts(tmp_path / "a.pdf")
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "x"}) + "\n{")
    with pytest.raises(DataError, match="line 2 is not JSON"):
        read_prompts(tmp_path / "a.jsonl")


@pytest.mark.parametrize("bos", [True, False])
def test_there_is_one_bos_and_no_eos(tokenizer, bos):
    begin = tokenizer.bos_token_id
    tokenizer.chat_template = ("{{ bos_token }}" if bos else "") + TEMPLATE
    prompts = ["1 + 1", tokenizer.bos_token + "1 + 1", CHAT, [*CHAT, {"role": "assistant", "content": "2"}]]
    tokens = tokenize(tokenizer, prompts, 100)
    ids = [tokens.ids[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    assert ids[0] == ids[1] == tokenizer("1 + 1")["input_ids"]
    assert all(x[0] == begin and x.count(begin) == 1 for x in ids)
    assert tokenizer.decode(ids[2][1:]) == "[user]1 + 1?[go]"
    assert tokenizer.decode(ids[3][1:]) == "[user]1 + 1?[assistant]2"


def test_a_template_may_end_in_a_special_token(tokenizer):
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|go|>"]})
    tokenizer.chat_template = TEMPLATE.replace("[go]", "<|go|>")
    tokens = tokenize(tokenizer, [CHAT], 100)
    assert tokens.ids[-1] == tokenizer.convert_tokens_to_ids("<|go|>")


def test_a_chat_needs_a_template(tokenizer):
    with pytest.raises(ConfigError, match="has no chat template: give texts as `prompt`"):
        tokenize(tokenizer, [CHAT], 100)
    tokenizer.chat_template = "{{ raise_exception('Roles must alternate') }}"
    with pytest.raises(DataError, match="Roles must alternate"):
        tokenize(tokenizer, [CHAT], 100)


def test_long_prompts_lose_their_beginning_and_it_is_said(tokenizer):
    with pytest.warns(UserWarning, match="1 of 2 prompts are longer than max_length=5"):
        tokens = tokenize(tokenizer, ["1", "1 2 3 4 5 6 7 8 9"], 5)
    whole = tokenizer("1 2 3 4 5 6 7 8 9")["input_ids"]
    assert tokens.ids[tokens.starts[1] :].tolist() == [whole[0], *whole[-4:]]


def test_the_models_context_is_the_limit(bases, tokenizer):
    from transformers import AutoConfig

    class Model:
        config = AutoConfig.from_pretrained(bases["llama"])

    assert longest(tokenizer, Model) == Model.config.max_position_embeddings
    tokenizer.model_max_length = 7
    assert longest(tokenizer, Model) == 7


def test_held_out_prompts_are_none_of_the_fitted_ones(tokenizer):
    prompts = [f"{i % 150} + 1" for i in range(400)]
    tokens = tokenize(tokenizer, prompts, 100)
    parts = hold_out(tokens, seed=1)
    texts = [{prompts[i] for i in part} for part in (parts.fit, parts.scale, parts.calibration)]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    assert set.union(*texts) == set(prompts)
    assert len(parts.calibration) == len(texts[2]) == 75
    assert len(parts.fit) > len(texts[0])  # what is there twice counts twice there, as in the user's prompts
    assert np.array_equal(hold_out(tokens, seed=1).fit, parts.fit)
    assert not np.array_equal(hold_out(tokens, seed=2).fit, parts.fit)
    assert len(hold_out(tokens, calibration=0.5).calibration) == 75
    assert len(hold_out(tokens, calibration=20).calibration) == 20
