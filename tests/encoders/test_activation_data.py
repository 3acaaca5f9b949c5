"""Activations of texts are those that transformers gives, from the tokens after the first."""

import pytest
import torch

from madkit.data.pretraining.corpus_data import CorpusData
from madkit.encoders.activation_data import ActivationData
from madkit.errors import ConfigError


@pytest.mark.parametrize("side", ["input", "output"])
def test_activations_are_those_of_transformers_after_the_first_token(bases, side):
    from transformers import AutoModelForCausalLM

    texts = CorpusData({"addition": {"max": 99}}, batch_size=4, steps_per_epoch=2, errors_from=0)
    data = ActivationData(str(bases["llama"]), texts, layers=[1, 2], side=side)
    data.setup("fit")
    batch = texts.train_batch(0)
    found = data.on_after_batch_transfer(data.on_before_batch_transfer(batch, 0), 0)["x"]
    model = AutoModelForCausalLM.from_pretrained(bases["llama"]).eval()
    with torch.no_grad():
        out = model(batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    used = batch["attention_mask"].bool()
    used[:, 0] = False
    suffix = ".output" if side == "output" else ""
    for layer in (1, 2):
        expected = out.hidden_states[layer + (side == "output")][used]
        torch.testing.assert_close(found[f"model.layers.{layer}{suffix}"], expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_those_of_all_rows_together(bases):
    from madkit.streaming.moments import Moments

    texts = CorpusData({"addition": {"max": 99}}, batch_size=8, steps_per_epoch=2, errors_from=0)
    data = ActivationData(str(bases["llama"]), texts, layers=[1], statistics_batches=3)
    data.setup("fit")
    found = data.statistics(Moments, torch.device("cpu"))["model.layers.1"]
    batches = [data.on_before_batch_transfer(texts.train_batch(step), 0) for step in range(3)]
    rows = torch.cat([data.activations(batch)["model.layers.1"] for batch in batches]).double()
    assert found.n == len(rows)
    torch.testing.assert_close(found.mean, rows.mean(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.covariance, torch.cov(rows.T), rtol=1e-9, atol=1e-9)


def test_texts_of_a_folder_train_encoders(bases, tmp_path):
    from madkit.data.pretraining.text_data import TextData

    lines = [f"Statement: {i} + {i} = {2 * i}\n" for i in range(200)]
    (tmp_path / "texts.txt").write_text("".join(lines))
    texts = TextData(str(tmp_path), batch_size=8, n_validation=20, max_length=12)
    data = ActivationData(str(bases["llama"]), texts, layers=[2])
    data.setup("fit")
    assert texts.steps_per_epoch == 180 // 8
    batch = texts.train_batch(3)
    assert batch["input_ids"].shape == batch["attention_mask"].shape and batch["input_ids"].shape[1] <= 12
    again = texts.train_batch(3)
    assert torch.equal(batch["input_ids"], again["input_ids"])
    assert sum(len(b["input_ids"]) for b in texts.val_dataloader()) == 20
    x = data.activations(data.on_before_batch_transfer(batch, 0))["model.layers.2"]
    assert len(x) == int(batch["attention_mask"].sum()) - 8
    with pytest.raises(ConfigError, match="column='body'"):
        _ = TextData(str(tmp_path), column="body").texts
    with pytest.raises(ConfigError, match="cannot load"):
        _ = TextData(str(tmp_path / "nowhere")).texts
