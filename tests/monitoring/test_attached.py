"""A monitor on a model that generates: every token has the score that its text has by itself."""

import json

import numpy as np
import pytest
import torch
from small_lms import with_lora
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor
from madkit.errors import ConfigError, StoreError
from madkit.features import Activations
from madkit.runs.fingerprints import digest

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(16) for j in range(16)]
PROMPTS = ["Statement: 1 + 1 = 2", "Yes No", "Statement: 12345 + 54321 = 6"]


def load(bases):
    return AutoModelForCausalLM.from_pretrained(bases["llama"]).eval()


@pytest.fixture(scope="module")
def tokenizer(bases):
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"], padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.fixture(scope="module")
def monitors(bases, tokenizer):
    """Of activations alone, of a LoRA compared with its base, and of a whole model compared with another."""
    tuned = with_lora(load(bases))
    merged = load(bases)
    with torch.no_grad():
        merged.model.layers[0].mlp.down_proj.weight.mul_(1.2)
    options = {"features": [Activations(step=2)], "batch_size": 64, "new_tokens": 4}
    return {
        "activations": Monitor.fit(load(bases), tokenizer, TRUSTED, **options),
        "adapter": Monitor.fit(tuned, tokenizer, TRUSTED, **options),
        "reference": Monitor.fit(merged, tokenizer, TRUSTED, reference=load(bases), **options),
    }


def by_itself(monitor, ids):
    """Scores (sites,) of one text, read whole."""
    ids = torch.tensor([ids])
    with torch.no_grad():
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "row": torch.zeros(1, dtype=torch.long)}
        return monitor.state.score_batch(monitor.watched, batch)[0].numpy()


def texts_of(tokenizer, written):
    """The prompts without padding, and how many tokens each has."""
    prompts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    width = max(map(len, prompts))
    return [[*prompt, *row[width:].tolist()] for prompt, row in zip(prompts, written, strict=True)], list(
        map(len, prompts)
    )


@pytest.mark.parametrize(
    ("kind", "how"),
    [("activations", {}), ("adapter", {"do_sample": True}), ("adapter", {"use_cache": False}), ("reference", {})],
)
def test_every_token_has_the_score_of_its_text(monitors, tokenizer, kind, how):
    monitor = monitors[kind]
    model = monitor.watched.model
    torch.manual_seed(0)
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    with monitor.attached(model, fpr=0.05) as live:
        written = model.generate(**batch, max_new_tokens=6, eos_token_id=-1, pad_token_id=1, **how)
    table = live.scores
    texts, lengths = texts_of(tokenizer, written)
    assert table["step"].tolist() == [step for step in range(6) for _ in PROMPTS]
    for row in table.itertuples(index=False):
        ids = texts[row.sequence][: lengths[row.sequence] + row.step]
        assert row.token == ids[-1]
        np.testing.assert_allclose(list(row)[6:], by_itself(monitor, ids), rtol=2e-3)
    assert table["p_value"].isna().tolist() == (table["step"] > 4).tolist()
    assert live.alarms.equals(table[table["p_value"] <= 0.05])


def test_p_values_of_prompts_are_those_of_score_and_of_responses_count_the_largest(monitors, tokenizer):
    monitor = monitors["adapter"]
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    with monitor.attached(fpr=0.05) as live:
        monitor.watched.model.generate(**batch, max_new_tokens=5, do_sample=False, pad_token_id=1)
    table = live.scores
    np.testing.assert_allclose(table["p_value"][:3], monitor.score(PROMPTS, fpr=0.05)["p_value"], atol=0.02)
    responses = monitor.state.responses
    for _, part in table[table["step"] > 0].groupby("sequence"):
        largest = part["score"].cummax()
        expected = [(1 + (responses >= score).sum()) / (1 + len(responses)) for score in largest]
        np.testing.assert_allclose(part["p_value"], expected)


def test_responses_to_prompts_like_the_trusted_ones_seldom_alarm(monitors, tokenizer):
    monitor = monitors["activations"]
    prompts = [f"Statement: {i} + {j} = {i + j}" for i in range(16) for j in range(16, 20)]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    with monitor.attached(fpr=0.1) as live:
        monitor.watched.model.generate(**batch, max_new_tokens=5, do_sample=False, pad_token_id=1)
    assert live.alarms.loc[live.alarms["step"] > 0, "sequence"].nunique() < 0.3 * len(prompts)


def test_sequences_are_numbered_on_and_a_forward_pass_may_be_padded_on_the_right(monitors, tokenizer):
    monitor = monitors["adapter"]
    model = monitor.watched.model
    right = AutoTokenizer.from_pretrained(tokenizer.name_or_path, padding_side="right", pad_token=tokenizer.eos_token)
    with monitor.attached(model, fpr=0.05) as live, torch.no_grad():
        model(**right(PROMPTS, return_tensors="pt", padding=True))
        model(**tokenizer(PROMPTS[:1], return_tensors="pt"))
    assert live.scores["sequence"].tolist() == [0, 1, 2, 3] and live.scores["step"].tolist() == [0] * 4
    expected = [by_itself(monitor, tokenizer(prompt)["input_ids"]) for prompt in [*PROMPTS, PROMPTS[0]]]
    np.testing.assert_allclose(live.scores.iloc[:, 6:], expected, rtol=2e-3)


def test_what_comes_after_the_end_of_a_response_has_no_score(monitors, tokenizer):
    monitor = monitors["activations"]
    model = monitor.watched.model
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    free = model.generate(**batch, max_new_tokens=6, do_sample=False, eos_token_id=-1, pad_token_id=1)
    end = int(free[0, batch["input_ids"].shape[1] + 1])
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = end
    try:
        with monitor.attached(model, fpr=0.05) as live:
            written = model.generate(**batch, max_new_tokens=6, do_sample=False, pad_token_id=1)
    finally:
        model.generation_config.eos_token_id = before
    width = batch["input_ids"].shape[1]
    for sequence, part in live.scores.groupby("sequence"):
        response = written[sequence, width:].tolist()
        length = response.index(end) if end in response else len(response) - 1
        assert part["token"].tolist()[1:] == response[:length]


def test_generation_can_be_stopped_by_an_alarm(monitors, tokenizer):
    from transformers import StoppingCriteriaList

    monitor = monitors["activations"]
    batch = tokenizer(PROMPTS[1:2], return_tensors="pt")  # an odd one
    with monitor.attached(fpr=0.05) as live:
        written = monitor.watched.model.generate(
            **batch, max_new_tokens=9, pad_token_id=1, stopping_criteria=StoppingCriteriaList([live.stop])
        )
    assert len(live.alarms) and written.shape[1] == batch["input_ids"].shape[1] + 1


def test_the_model_is_left_as_it_was(monitors, tokenizer):
    model = monitors["adapter"].watched.model
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()}
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(RuntimeError, match="the user's own"), monitors["adapter"].attached(fpr=0.05):
        model.generate(**tokenizer(PROMPTS[:1], return_tensors="pt"), max_new_tokens=2, pad_token_id=1)
        raise RuntimeError("the user's own")
    assert {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()} == hooks
    assert {name: p.requires_grad for name, p in model.named_parameters()} == trainable


def test_a_monitor_that_was_fitted_for_no_responses_says_so(bases, tokenizer, tmp_path, monitors):
    monitors["activations"].save(tmp_path / "monitor")
    model = load(bases)
    again = Monitor.load(tmp_path / "monitor", model, tokenizer)
    np.testing.assert_array_equal(again.state.responses, monitors["activations"].state.responses)
    assert "Responses are promised for up to 4 tokens" in again.description
    few = Monitor.fit(model, tokenizer, TRUSTED[:60])
    with pytest.warns(UserWarning, match="fitted for no responses"), few.attached(model, fpr=0.05) as live:
        model.generate(**tokenizer(PROMPTS[:1], return_tensors="pt"), max_new_tokens=3, pad_token_id=1)
    assert live.scores["p_value"].isna().tolist() == [False, True, True]
    with pytest.raises(StoreError, match="another model"):
        few.attached(monitors["reference"].watched.model, fpr=0.05)
    with pytest.raises(ConfigError, match=r"fpr=0.001 needs 999 calibration prompts"):
        few.attached(model, fpr=0.001)


def test_a_stream_that_is_harder_raises_fewer_alarms_once_it_is_known(monitors):
    monitor = monitors["activations"]
    harder = [f"Statement: {i} + {j} = {i + j}" for i in range(300, 320) for j in range(40, 46)]
    before = monitor.score(harder, fpr=0.05)["alarm"].mean()
    recalibrated = monitor.recalibrate(harder)
    after = recalibrated.score(harder, fpr=0.05)
    assert after["alarm"].mean() < min(before, 0.15)
    assert "said by 120 unlabelled prompts" in recalibrated.description
    assert (recalibrated.score(TRUSTED[:50], fpr=0.05)["alarm"] <= monitor.score(TRUSTED[:50], fpr=0.05)["alarm"]).all()


def alarms_of_responses(monitor, tokenizer, prompts, fpr=0.05):
    """The share of prompts whose response alarms."""
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    with monitor.attached(fpr=fpr) as live:
        monitor.watched.model.generate(**batch, max_new_tokens=5, do_sample=False, pad_token_id=1)
    later = live.alarms[live.alarms["step"] > 0]
    return later["sequence"].nunique() / len(prompts)


def test_responses_to_a_stream_raise_fewer_alarms_once_it_is_known(monitors, tokenizer, tmp_path):
    monitor = monitors["activations"]
    harder = [f"= = {i} {j} = + = " for i in range(12) for j in range(10)]
    recalibrated = monitor.recalibrate(harder)
    before, after = (alarms_of_responses(each, tokenizer, harder) for each in (monitor, recalibrated))
    assert after <= 0.1 < 0.5 < before
    assert "and by 120 responses to them" in recalibrated.description
    recalibrated.save(tmp_path / "monitor")
    again = Monitor.load(tmp_path / "monitor", monitor.watched.model, tokenizer)
    assert alarms_of_responses(again, tokenizer, harder) == after
    prompts_alone = monitor.recalibrate(harder, responses=False)
    assert alarms_of_responses(prompts_alone, tokenizer, harder) == before
    assert "of responses by the trusted ones alone" in prompts_alone.description
    # The stream takes alarms away, and makes none.
    assert alarms_of_responses(recalibrated, tokenizer, TRUSTED[:60], 0.1) <= 0.2


def test_responses_of_now_are_written_as_those_of_the_held_out_prompts(bases, tokenizer, tmp_path, monkeypatch):
    model = load(bases)
    how = {"do_sample": True, "temperature": 3.0, "suppress_tokens": [5]}
    monitor = Monitor.fit(model, tokenizer, TRUSTED, batch_size=64, new_tokens=2, generation=how)
    monitor.save(tmp_path / "monitor")
    again = Monitor.load(tmp_path / "monitor", model, tokenizer)
    asked, generate = [], model.generate
    monkeypatch.setattr(model, "generate", lambda **options: asked.append(options) or generate(**options))
    assert len(again.recalibrate(TRUSTED[:40]).state.stream_responses) == 40
    assert asked and all(options[key] == value for options in asked for key, value in how.items())


def test_where_nothing_is_known_of_responses_of_now_it_is_said(bases, tokenizer, tmp_path, monkeypatch):
    model = load(bases)
    options = {"batch_size": 64, "new_tokens": 2}
    odd = Monitor.fit(model, tokenizer, TRUSTED[:60], generation={"logits_processor": []}, **options)
    odd.save(tmp_path / "monitor")
    again = Monitor.load(tmp_path / "monitor", model, tokenizer)
    with pytest.warns(UserWarning, match="alarms of responses stay as they were, because its folder holds no such"):
        assert again.recalibrate(TRUSTED[:40]).state.stream_responses is None
    assert odd.recalibrate(TRUSTED[:40]).state.stream_responses is not None  # it was not saved, and knows them
    silent = Monitor.fit(model, tokenizer, TRUSTED[:60], **options)
    monkeypatch.setattr(model.generation_config, "eos_token_id", list(range(model.config.vocab_size)))
    with pytest.warns(UserWarning, match="because of 40 responses to these prompts 0 have a score"):
        assert silent.recalibrate(TRUSTED[:40]).state.stream_responses is None


def test_options_of_somebody_elses_folder_fetch_no_code(monitors, tokenizer, tmp_path):
    monitor = monitors["activations"]
    monitor.save(tmp_path / "monitor")
    file = tmp_path / "monitor" / "monitor.json"
    said = json.loads(file.read_text())
    said.pop("checksum")
    said["generation"] = {"custom_generate": str(tmp_path), "trust_remote_code": True}
    file.write_text(json.dumps({**said, "checksum": digest(said)}))
    (tmp_path / "custom_generate").mkdir()
    code = f"from pathlib import Path\nPath({str(tmp_path / 'mark')!r}).write_text('it has run')\n"
    (tmp_path / "custom_generate" / "generate.py").write_text(code + "def generate(model, **options):\n    pass\n")
    with pytest.warns(UserWarning, match="holds no such `generation`"):
        Monitor.load(tmp_path / "monitor", monitor.watched.model, tokenizer).recalibrate(TRUSTED[:40])
    assert not (tmp_path / "mark").exists()
