"""What a monitor compares a model with is remembered, and nothing else is compared with in silence."""

import pytest
import torch
from small_lms import with_lora
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor
from madkit.detection.detector import Detector
from madkit.errors import ConfigError, StoreError
from madkit.lm import loading
from madkit.scores import Mahalanobis

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(12) for j in range(12)]


def load(bases):
    return AutoModelForCausalLM.from_pretrained(bases["llama"]).eval()


@pytest.fixture(scope="module")
def tokenizer(bases):
    return AutoTokenizer.from_pretrained(bases["llama"])


@pytest.fixture(scope="module")
def merged(bases):
    """A model that is tuned in its weights."""
    model = load(bases)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(1.2)
    return model


@pytest.fixture(scope="module")
def adapted(bases):
    return with_lora(load(bases))


def saved(monitor, folder):
    monitor.save(folder)
    return folder


def refused(said, call):
    with pytest.raises(StoreError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_reference_is_asked_for_and_has_to_be_the_same(bases, tokenizer, merged, tmp_path):
    fitted = Monitor.fit(merged, tokenizer, TRUSTED, reference=load(bases))
    folder = saved(fitted, tmp_path / "monitor")
    again = Monitor.load(folder, merged, tokenizer, reference=load(bases))
    assert again.score(TRUSTED[:5], fpr=0.05).equals(fitted.score(TRUSTED[:5], fpr=0.05))
    refused(r"^this monitor compares with a base model, .* reference=", lambda: Monitor.load(folder, merged, tokenizer))
    refused(
        rf"^this monitor compares with another base model \(fingerprint {fitted.state.control}\) than this `reference`",
        lambda: Monitor.load(folder, merged, tokenizer, reference=merged),
    )
    control = again.watched.control
    with torch.no_grad():
        control.model.layers[1].mlp.down_proj.weight[0, 0] += 1e-3
    refused("another base model", lambda: again.score(TRUSTED[:5], fpr=0.05))


def test_an_adapter_is_its_own_base_unless_another_was_given(bases, tokenizer, adapted, tmp_path):
    by_switch = saved(Monitor.fit(adapted, tokenizer, TRUSTED), tmp_path / "switch")
    assert Monitor.load(by_switch, adapted, tokenizer).state.control is None
    refused("leave `reference` out", lambda: Monitor.load(by_switch, adapted, tokenizer, reference=load(bases)))
    given = saved(Monitor.fit(adapted, tokenizer, TRUSTED, reference=load(bases)), tmp_path / "given")
    refused("compares with a base model", lambda: Monitor.load(given, adapted, tokenizer))
    assert Monitor.load(given, adapted, tokenizer, reference=load(bases)).state.control is not None
    # The same weights, and nothing that can switch the adapter off.
    adapted.base_model.model.peft_config = adapted.peft_config
    refused(
        "this one's cannot be: give the PEFT model",
        lambda: Monitor.load(by_switch, adapted.base_model.model, tokenizer),
    )


def test_a_base_that_nothing_is_compared_with_is_not_asked_for(bases, tokenizer, merged, tmp_path):
    detector = Detector("activations", Mahalanobis())
    fitted = Monitor.fit(merged, tokenizer, TRUSTED, reference=load(bases), detector=detector)
    again = Monitor.load(saved(fitted, tmp_path / "monitor"), merged, tokenizer)
    assert again.score(TRUSTED[:5], fpr=0.05).equals(fitted.score(TRUSTED[:5], fpr=0.05))


def scores_of(monitor, model, tokenizer):
    with monitor.attached(model, fpr=0.05) as live, torch.no_grad():
        model(**tokenizer(TRUSTED[0], return_tensors="pt"))
    return live.scores


@pytest.mark.filterwarnings("ignore:this monitor was fitted for no responses")
def test_a_model_in_use_is_compared_with_the_base_that_was_named(bases, tokenizer, merged, tmp_path, monkeypatch):
    merged.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    fitted = Monitor.fit(str(tmp_path / "merged"), None, TRUSTED, reference=str(bases["llama"]))
    expected = scores_of(fitted, fitted.watched.model, tokenizer)
    again = Monitor.load(saved(fitted, tmp_path / "monitor"))
    opened, load_causal_lm = [], loading.load_causal_lm
    monkeypatch.setattr(
        loading, "load_causal_lm", lambda name, **how: opened.append(name) or load_causal_lm(name, **how)
    )
    for _ in range(2):
        assert scores_of(again, merged, tokenizer).equals(expected)
    assert opened == [str(bases["llama"])]  # the base alone, and once
    with pytest.raises(ConfigError, match="model is of type int"):
        again.attached(5, fpr=0.05)


def test_a_model_in_use_whose_base_is_not_known_is_refused(bases, tokenizer, merged, tmp_path):
    folder = saved(Monitor.fit(merged, tokenizer, TRUSTED, reference=load(bases)), tmp_path / "monitor")
    refused("compares with a base model", lambda: Monitor.load(folder).attached(merged, fpr=0.05))
