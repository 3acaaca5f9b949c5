"""Texts for encoders, from tokenizers and tables that lack something."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from madkit.data.pretraining.text_data import TextData
from madkit.errors import ConfigError


def bare_tokenizer():
    """Words only: no padding, no end."""
    vocabulary = {"<unk>": 0, **{str(i): i + 1 for i in range(300)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def data(path, rows, **options):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = TextData(str(path), **{"batch_size": 4, "n_validation": 8, **options})
    texts.tokenizer = bare_tokenizer()
    return texts


def test_a_tokenizer_without_padding_and_end(tmp_path):
    texts = data(tmp_path / "t.jsonl", [{"text": f"{i} {i}" if i % 2 else f"{i}"} for i in range(40)])
    batch = texts.train_batch(0)
    lengths = batch["attention_mask"].sum(1)
    assert set(lengths.tolist()) == {1, 2}
    assert (batch["input_ids"][torch.arange(4), lengths - 1] == batch["input_ids"][:, 0]).all()
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()


def test_missing_texts_are_left_out_and_told(tmp_path):
    rows = [{"text": None if i % 10 == 3 else f"{i}"} for i in range(40)]
    texts = data(tmp_path / "t.jsonl", rows)
    with pytest.warns(UserWarning, match="4 of 40 texts are missing and left out"):
        assert texts.steps_per_epoch == (36 - 8) // 4
    seen = [i for step in range(7) for i in texts.train_batch(step)["input_ids"][:, 0].tolist()]
    seen += [i for batch in texts.val_dataloader() for i in batch["input_ids"][:, 0].tolist()]
    assert sorted(seen) == [i + 1 for i in range(40) if i % 10 != 3]


def test_a_folder_of_several_formats_is_refused(tmp_path):
    data(tmp_path / "train.jsonl", [{"text": f"{i}"} for i in range(40)])
    (tmp_path / "LICENSE.txt").write_text("MIT")
    with pytest.raises(ConfigError, match=r"several formats, such as LICENSE\.txt and train\.jsonl: name one file"):
        _ = TextData(str(tmp_path)).texts


@pytest.mark.parametrize("value", [3, ["a"], {"role": "user", "content": "a"}])
def test_columns_that_hold_no_text_are_refused(tmp_path, value):
    with pytest.raises(ConfigError, match="column='text' of .* holds .*: name a column of text"):
        _ = data(tmp_path / "t.jsonl", [{"text": value}] * 20).texts
