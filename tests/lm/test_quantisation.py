"""Bases of few bits: what is missing for them is said in a line, and what is read of them is what they compute."""

import json

import pytest
import torch
from small_lms import make_batch, make_lm
from torch.nn.functional import cross_entropy

from madkit.errors import ConfigError
from madkit.extraction.forward_pass import trace
from madkit.features import Activations, Answers, Attribution
from madkit.lm import adapters, loading
from madkit.lm.quirky_lm import QuirkyLM
from madkit.volume.prompt_volumes import PromptVolumes


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make_lm(hidden_size=64, intermediate_size=64).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 8}, "optimum"),
        ({"quant_method": "awq", "bits": 4, "group_size": 8, "zero_point": True}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "pip install compressed-tensors"),
        ({"quant_method": "aqlm"}, "aqlm"),
        ({"quant_method": "exl2", "bits": 4.0}, "in a way that transformers does not know"),
        ({"bits": 4}, "in a way that transformers does not know"),
    ],
)
def test_a_format_that_cannot_be_read_here_is_named(base, tmp_path, monkeypatch, settings, said):
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    method = settings.get("quant_method", "by an unnamed method")
    with pytest.raises(ConfigError, match=rf"model.base='.*' is quantised \({method}\).*{said}") as caught:
        loading.load_causal_lm(str(tmp_path))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # as if all packages were there
    with pytest.raises(ConfigError, match=r"model.dtype='4bit'.*is quantised already.*--model.dtype auto"):
        loading.load_causal_lm(str(tmp_path), dtype="4bit")


def test_the_package_that_quantises_is_named(base, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"models.dtype='8bit' needs .*madkit-lm\[bitsandbytes\].*--models.dtype"):
        loading.load_causal_lm(str(base), dtype="8bit", argument="models.base")
    with pytest.raises(ConfigError, match=r"dtype='2bit' is not supported; choose one of auto, .*, 4bit, 8bit"):
        loading.load_causal_lm(str(base), dtype="2bit")


def dequantised(lm):
    """The same model with full weights, each the product of a unit matrix and the map of few bits."""
    full = make_lm(hidden_size=64, intermediate_size=64)
    with torch.no_grad():
        for name, p in full.named_parameters():
            module = lm.get_submodule(name.rpartition(".")[0])
            quantised = not module.weight.is_floating_point()
            p.copy_(module(torch.eye(64)).T if quantised else module.weight)
    return full


@pytest.mark.parametrize(("dtype", "tolerance"), [("4bit", 0.02), ("8bit", 0.05)])
def test_features_gradients_and_adapters_of_few_bits(base, tmp_path, dtype, tolerance):
    pytest.importorskip("bitsandbytes")
    lm, batch = loading.load_causal_lm(str(base), dtype=dtype), make_batch(4)
    batch |= {"answer": torch.tensor([3, 4, 5, 6]), "padded": True}
    full = dequantised(lm)
    assert any(not p.is_floating_point() for p in lm.parameters())
    features = [Activations(1, 1), Answers(), Attribution("zero", first=1, step=1)]

    def read(model):
        traces = trace(model, features, {f.name: f.hookpoints(full) for f in features}, batch)
        return [next(iter(f(traces[f.name]).values())) for f in features]

    for ours, theirs in zip(read(lm), read(full), strict=True):
        assert float((ours - theirs).norm()) < tolerance * float(theirs.norm())
    own = [lm(input_ids=i[m.bool()][None]).logits[0, -1, [3, 7]]
           for i, m in zip(batch["input_ids"], batch["attention_mask"], strict=True)]  # fmt: skip
    torch.testing.assert_close(read(lm)[1], torch.stack(own).detach(), rtol=1e-2, atol=1e-2)
    with pytest.raises(ConfigError, match="is quantised .*load the model in bfloat16"):
        PromptVolumes(lm, directions=1)

    module = QuirkyLM(str(base), {"r": 2, "lora_alpha": 16}, dtype=dtype)
    module.configure_model()
    theirs = adapters.attach_lora(full.requires_grad_(False), {"r": 2, "lora_alpha": 16})
    theirs.load_state_dict({k: v for k, v in module.model.state_dict().items() if "lora_" in k}, strict=False)
    module.loss(batch).backward()
    last = [theirs(input_ids=i[m.bool()][None]).logits[0, -1]
            for i, m in zip(batch["input_ids"], batch["attention_mask"], strict=True)]  # fmt: skip
    cross_entropy(torch.stack(last), batch["answer"]).backward()
    expected = dict(theirs.named_parameters())
    for name, p in module.model.named_parameters():
        if "lora_B" in name:
            assert float((p.grad - expected[name].grad).norm()) < 2 * tolerance * float(expected[name].grad.norm())
    torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.05).step()
    module.export(tmp_path)
    model, fault = adapters.load_adapted(loading.load_causal_lm(str(base), dtype=dtype), str(tmp_path))
    assert fault is None
    assert torch.equal(read(model)[1], read(module.model.eval())[1])
    with model.disable_adapter():
        assert torch.equal(read(model)[1], read(lm)[1])
    with pytest.raises(ConfigError, match=r"model.lora=null trains all weights.*quantised"):
        QuirkyLM(str(base), None, dtype=dtype).configure_model()
