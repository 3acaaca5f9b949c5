"""A monitor in Python: what it reads, what it promises, and which model it takes."""

import json
import warnings

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor
from madkit.derived import Delta
from madkit.detection.detector import Detector
from madkit.errors import ConfigError, DataError, StoreError
from madkit.features import Activations, Answers, UpdateDirections
from madkit.scores import LocalOutlierFactor, Mahalanobis, QuantumEntropy

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(20) for j in range(15)]
ODD = ["= = = = + + + +", "Yes No Yes No Yes", "Answer: Answer: Answer:"]


@pytest.fixture(scope="module")
def plain(bases):
    return AutoModelForCausalLM.from_pretrained(bases["llama"]), AutoTokenizer.from_pretrained(bases["llama"])


@pytest.fixture(scope="module")
def tuned(bases, tmp_path_factory):
    """A model with a LoRA, its tokenizer and the adapter's folder."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(bases["llama"])
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("tuned") / "adapter"
    model.save_pretrained(folder)
    return model.eval(), AutoTokenizer.from_pretrained(bases["llama"]), folder


@pytest.fixture(scope="module")
def monitor(plain):
    return Monitor.fit(*plain, TRUSTED)


@pytest.fixture(scope="module")
def compared(tuned):
    return Monitor.fit(tuned[0], tuned[1], TRUSTED)


def vectors(model, tokenizer, prompts, layer):
    """What enters a layer at the last token, of each prompt by itself, by plain transformers."""
    found = []
    with torch.no_grad():
        for prompt in prompts:
            states = model(**tokenizer(prompt, return_tensors="pt"), output_hidden_states=True).hidden_states
            found.append(states[layer][0, -1].double())
    return torch.stack(found)


def test_a_table_has_a_row_for_each_prompt_in_their_order(monitor):
    prompts = [*ODD, *TRUSTED[:5], "Statement: 7 + 7 = 1400000"]
    table = monitor.score(prompts, fpr=0.05)
    assert list(table.columns) == ["score", "p_value", "alarm", "sites", "model.layers.1", "model.layers.4"]
    for i in (0, 4, 8):
        alone = monitor.score([prompts[i]], fpr=0.05)
        np.testing.assert_allclose(alone["score"], table["score"].iloc[[i]], rtol=1e-3)
    assert (table["alarm"] == (table["p_value"] <= 0.05)).all()
    assert table["alarm"][:3].all() and all(table["sites"][:3])
    assert not table.loc[~table["alarm"], "sites"].any()


def test_scores_are_those_of_plain_transformers(monitor, plain):
    """Fitted and held-out prompts are told apart by what the monitor says of the trusted ones only in number."""
    scores = monitor.score(TRUSTED[:6])["model.layers.4"].to_numpy()
    x = vectors(*plain, TRUSTED[:100], 4)
    # All that is known of the fit from outside: distances are a positive quadratic form about a mean near that of all.
    whole = Mahalanobis().fit(x)
    assert np.corrcoef(whole(x[:6]).numpy(), scores)[0, 1] > 0.9
    state = monitor.state.detectors.sites[1].score
    np.testing.assert_allclose(state(x[:6]).numpy(), scores, rtol=1e-4)


def test_the_promise_holds_on_prompts_like_the_trusted_ones(plain):
    """Monitors of some trusted prompts, each judged on the others."""
    rng = np.random.default_rng(0)
    prompts = [f"Statement: {i} + {j} = {i + j}" for i in range(30) for j in range(20)]
    shares = []
    for seed in range(3):
        order = rng.permutation(len(prompts))
        chosen = Monitor.fit(*plain, [prompts[i] for i in order[:200]], batch_size=64, seed=seed)
        table = chosen.score([prompts[i] for i in order[200:]], fpr=0.1)
        shares.append(table["alarm"].mean())
    # Of 99 calibration prompts each: Beta(10, 90), and half of what is held out is left over.
    assert abs(np.mean(shares) - 0.1) < 4 * np.sqrt(0.09 / 100 / 3)


def test_a_base_model_is_compared_with(compared, tuned):
    assert "the base model's activations do not explain" in compared.description
    model, tokenizer, _ = tuned
    delta = Monitor.fit(model, tokenizer, TRUSTED, detector=Detector(Delta(), Mahalanobis()))
    with model.disable_adapter():
        off = vectors(model, tokenizer, ODD, 4)
    x = vectors(model, tokenizer, ODD, 4) - off
    score = delta.state.detectors.sites[1].score
    np.testing.assert_allclose(delta.score(ODD)["model.layers.4"], score(x), rtol=1e-3)


def test_a_name_gives_the_numbers_of_the_model_in_memory(compared, tuned, bases):
    named = Monitor.fit(str(bases["llama"]), None, TRUSTED, adapter=str(tuned[2]))
    expected = compared.score([*ODD, *TRUSTED[:3]])
    assert named.score([*ODD, *TRUSTED[:3]]).equals(expected)
    assert named.state.model == compared.state.model


def test_a_saved_monitor_is_the_same_and_knows_its_model(compared, monitor, tuned, plain, tmp_path):
    compared.save(tmp_path / "monitor")
    again = Monitor.load(tmp_path / "monitor", tuned[0], tuned[1])
    assert again.score(ODD).equals(compared.score(ODD))
    assert again.description == compared.description
    with pytest.raises(
        StoreError, match=r"^this monitor was fitted on another model \(fingerprint \w+\) than this one"
    ):
        Monitor.load(tmp_path / "monitor", *plain)
    with pytest.raises(StoreError, match="was fitted on a model in memory: give it to Monitor.load"):
        Monitor.load(tmp_path / "monitor").score(ODD)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="is there and holds no monitor: name a new folder"):
        compared.save(tmp_path / "other")
    monitor.save(tmp_path / "monitor")  # one monitor replaces another
    assert Monitor.load(tmp_path / "monitor", *plain).score(ODD).equals(monitor.score(ODD))


def test_a_model_that_has_been_trained_further_is_refused(bases):
    model = AutoModelForCausalLM.from_pretrained(bases["llama"])
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"])
    monitor = Monitor.fit(model, tokenizer, TRUSTED)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] += 1e-3
    with pytest.raises(StoreError, match="another model"):
        monitor.score(ODD)


def test_one_list_of_features_serves_several_monitors(bases):
    """Each has its own: of another model, of one that has been trained further, and the first one still."""
    tokenizer, shared, models = AutoTokenizer.from_pretrained(bases["llama"]), [UpdateDirections(k=2)], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        options = LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
        models.append(get_peft_model(AutoModelForCausalLM.from_pretrained(bases["llama"]), options).eval())

    def fitted(model, features):
        detector = Detector(features[0].name, Mahalanobis())
        return Monitor.fit(model, tokenizer, TRUSTED[:60], features=features, detector=detector)

    first = fitted(models[0], shared)
    expected = first.score(ODD, fpr=0.2)
    for _ in range(2):
        assert (
            fitted(models[1], shared)
            .score(ODD, fpr=0.2)
            .equals(fitted(models[1], [UpdateDirections(k=2)]).score(ODD, fpr=0.2))
        )
        with torch.no_grad():
            for name, p in models[1].named_parameters():
                if "lora_" in name:
                    p.normal_()
    assert first.score(ODD, fpr=0.2).equals(expected)


def test_a_monitor_of_a_named_model_loads_it_again(bases, tmp_path):
    fitted = Monitor.fit(str(bases["llama"]), None, TRUSTED, features=[Activations(step=1)], aggregation="max",
                         detector=Detector("activations", LocalOutlierFactor(k=5)), dtype="bfloat16")  # fmt: skip
    fitted.save(tmp_path / "monitor")
    again = Monitor.load(tmp_path / "monitor")
    assert again.score(ODD).equals(fitted.score(ODD))
    assert [c for c in again.score(ODD) if c.startswith("model")] == [f"model.layers.{i}" for i in range(1, 5)]


@pytest.mark.parametrize("name", ["monitor.json", "monitor.safetensors", "scores/model.layers.1/state.safetensors"])
def test_a_damaged_monitor_is_refused_in_a_line(monitor, plain, tmp_path, name):
    monitor.save(tmp_path / "monitor")
    file = tmp_path / "monitor" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(StoreError) as caught:
        Monitor.load(tmp_path / "monitor", *plain)
    assert "\n" not in str(caught.value)


def test_the_folder_holds_no_pickle_and_another_format_is_refused(monitor, plain, tmp_path):
    monitor.save(tmp_path / "monitor")
    assert {p.suffix for p in (tmp_path / "monitor").rglob("*") if p.is_file()} == {".json", ".safetensors"}
    said = json.loads((tmp_path / "monitor" / "monitor.json").read_text())
    (tmp_path / "monitor" / "monitor.json").write_text(json.dumps({**said, "format": 99}))
    with pytest.raises(StoreError, match="has format 99, and this madkit reads 2"):
        Monitor.load(tmp_path / "monitor", *plain)


def test_what_too_few_prompts_can_promise_is_said(plain):
    few = Monitor.fit(*plain, TRUSTED[:60])
    assert "smallest false-alarm rate that it can promise is 0.0323" in few.description
    with pytest.raises(
        ConfigError, match=r"^fpr=0.01 needs 99 calibration prompts and there are 30, which can promise"
    ):
        few.score(ODD)
    assert few.score(ODD, fpr=0.05)["p_value"].min() == pytest.approx(1 / 31)


def test_a_selection_by_false_discoveries(monitor):
    table = monitor.score([*ODD, *TRUSTED[:30]], fdr=0.2)
    assert table["alarm"].sum() <= (monitor.score([*ODD, *TRUSTED[:30]], fpr=0.2)["alarm"]).sum()


def test_the_model_is_left_as_it_was(tuned):
    model, tokenizer, _ = tuned
    model.train()
    model.model.model.embed_tokens.weight.requires_grad_(True)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        Monitor.fit(model, tokenizer, TRUSTED[:60]).score(ODD, fpr=0.1)
        assert model.training and all(module.training for module in model.modules())
        assert {name: p.requires_grad for name, p in model.named_parameters()} == before
        assert model.active_adapters == ["default"]
    finally:
        model.eval()


def test_nothing_is_warned_of(plain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Monitor.fit(*plain, TRUSTED[:60]).score(ODD, fpr=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": Detector("activations", QuantumEntropy())}, "learns from untrusted prompts"),
        ({"detector": Detector("activations", Mahalanobis(), background=True)}, "detector has background=true"),
        ({"detector": Detector("flow", Mahalanobis())}, "reads the feature 'flow' and features are activations"),
        ({"detector": Detector(Delta(), Mahalanobis())}, "compares with the base model, and none is known"),
        ({"features": [Answers()], "detector": Detector("answers", Mahalanobis())}, "about the answers of a prompt"),
        ({"calibration": 0.99}, "leaves 8 or more"),
        ({"dtype": "bfloat16"}, "model is in memory, so dtype='bfloat16' does nothing"),
        ({"max_length": 1}, "max_length=1 leaves no room"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(plain, options, message):
    with pytest.raises(ConfigError, match=message):
        Monitor.fit(*plain, TRUSTED, **options)


def test_other_things_than_models_and_prompts_are_refused(plain):
    with pytest.raises(ConfigError, match="model is of type Linear"):
        Monitor.fit(torch.nn.Linear(2, 2), plain[1], TRUSTED)
    with pytest.raises(ConfigError, match="tokenizer is of type NoneType"):
        Monitor.fit(plain[0], None, TRUSTED)
    with pytest.raises(DataError, match=r"11 trusted prompts, 11 different ones, are too few"):
        Monitor.fit(*plain, TRUSTED[:11])
