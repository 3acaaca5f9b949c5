"""An adapter is read whole or refused in a line, and gives what PEFT's own forward pass gives."""

import json
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit.errors import ConfigError
from madkit.lm import adapters, forward, loading

QV = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
IDS = torch.tensor([[5, 90, 17, 200, 33]])


def fresh(base):
    return AutoModelForCausalLM.from_pretrained(base).eval()


def own(lm):
    with torch.no_grad():
        return forward.logits_of(lm, forward.hidden_states(lm, IDS, torch.ones_like(IDS), padded=False)[:, -1])[0]


def trained(lm, config, folder, seed=0):
    """An adapter with random weights, saved, and the logits that its own model gives."""
    torch.manual_seed(seed)
    model = peft.get_peft_model(lm, config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(folder)
    with torch.no_grad():
        return model(input_ids=IDS).logits[0, -1]


def lora(**options):
    return peft.LoraConfig(task_type="CAUSAL_LM", **{**QV, **options})


KINDS = {
    "lora": lora(),
    "pattern": lora(use_rslora=True, rank_pattern={"q_proj": 5}, alpha_pattern={"v_proj": 3}),
    "dora": lora(use_dora=True),
    "one layer": lora(layers_to_transform=[1], exclude_modules=["v_proj"]),
    "embeddings": lora(target_modules=["q_proj", "embed_tokens"]),
    "modules_to_save": lora(modules_to_save=["lm_head", "embed_tokens"]),
    "tokens": lora(trainable_token_indices=[5, 90]),
    "pissa": lora(init_lora_weights="pissa"),
    "olora": lora(init_lora_weights="olora"),
    "vera": peft.VeraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"]),
    "ia3": peft.IA3Config(task_type="CAUSAL_LM"),
    "boft": peft.BOFTConfig(task_type="CAUSAL_LM", boft_block_size=4, target_modules=["q_proj"]),
    "loha": peft.LoHaConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]),
    "norms": peft.LNTuningConfig(task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_gives_its_own_logits_and_the_base_without_it(bases, tmp_path, kind):
    expected, alone = trained(fresh(bases["llama"]), KINDS[kind], tmp_path), own(fresh(bases["llama"]))
    model, fault = adapters.load_adapted(fresh(bases["llama"]), str(tmp_path))
    torch.testing.assert_close(own(model.get_base_model()), expected, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(expected, alone, atol=1e-3)
    with model.disable_adapter():
        off = own(model.get_base_model())
    # Where switching it off does not give the base, that is said.
    assert (fault is None) == torch.allclose(off, alone, atol=1e-5) == (kind not in ("pissa", "olora"))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_a_trained_bias_stays_when_the_adapter_is_off(bases, tmp_path, bias):
    trained(fresh(bases["gpt_neox"]), lora(target_modules=["query_key_value"], bias=bias), tmp_path)
    _, fault = adapters.load_adapted(fresh(bases["gpt_neox"]), str(tmp_path))
    assert "bias" in fault


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        lora(alora_invocation_tokens=[5]),
    ],
)
def test_what_acts_outside_of_the_layers_is_refused(bases, tmp_path, config):
    trained(fresh(bases["llama"]), config, tmp_path)
    with pytest.raises(ConfigError, match="outside of the model's layers"):
        adapters.load_adapter(fresh(bases["llama"]), str(tmp_path))


@pytest.fixture
def saved(bases, tmp_path):
    folder = tmp_path / "adapter"
    expected = trained(fresh(bases["llama"]), lora(), folder)
    return folder, expected


def rename(folder, change):
    file = folder / "adapter_model.safetensors"
    save_file({change(k): v for k, v in load_file(file).items()}, file)


@pytest.mark.parametrize(
    "change",
    [
        lambda k: k.replace("model.model.layers", "model.model.language_model.layers"),
        lambda k: k.replace("base_model.model.model.", "base_model.model._orig_mod.model."),
        lambda k: k.replace("base_model.model.model.", ""),
        lambda k: k.replace(".weight", ".quirky.weight"),
        lambda k: k.replace("lora_A.", "lora_A.quirky."),
    ],
)
def test_names_that_can_be_paired_in_one_way_are(bases, saved, change):
    folder, expected = saved
    rename(folder, change)
    model = adapters.load_adapter(fresh(bases["llama"]), str(folder))
    torch.testing.assert_close(own(model.get_base_model()), expected, atol=2e-5, rtol=1e-4)


def edit(folder, **settings):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def drop_half(folder):
    file = folder / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if ".layers.2." not in k}, file)


def broken(folder):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values()))[0, 0] = torch.nan
    save_file(tensors, file)


def truncate(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: rename(f, lambda k: k.replace("model.layers", "vision.layers")),
            "lacks 20 of the 20 tensors.*no place",
        ),
        (drop_half, "lacks 4 of the 20 tensors"),
        (lambda f: edit(f, layers_to_transform=[0]), r"no place.*layers_to_transform=\[0\]"),
        (lambda f: edit(f, target_modules=["q_proj"]), "no place"),
        (lambda f: edit(f, target_modules=["q_proj", "v_proj", "up_proj"]), "lacks 10 of the 30 tensors"),
        (lambda f: edit(f, r=3), "other shapes"),
        (lambda f: edit(f, target_modules=["c_attn"]), "does not fit"),
        (lambda f: edit(f, bright_idea=True), "bright_idea.*upgrade peft"),
        (lambda f: edit(f, peft_type="NOVEL"), "NOVEL"),
        (lambda f: edit(f, init_lora_weights="pissa_niter_4"), "cannot be repeated"),
        (lambda f: edit(f, task_type="SEQ_CLS"), "not as a language model"),
        (broken, "NaN or infinite"),
        (truncate("adapter_model.safetensors", 200), "adapter_model.safetensors' is damaged"),
        (truncate("adapter_model.safetensors", 0), "adapter_model.safetensors' is damaged"),
        (truncate("adapter_config.json", 40), "adapter_config.json' is damaged"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "peft_type"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "peft_type"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors weights"),
        (lambda f: (f / "adapter_config.json").unlink(), "but no adapter_config.json"),
    ],
)
def test_what_cannot_be_read_whole_is_refused(bases, saved, damage, message):
    folder, _ = saved
    damage(folder)
    with pytest.raises(ConfigError, match=message) as refusal:
        adapters.load_adapter(fresh(bases["llama"]), str(folder))
    assert "\n" not in str(refusal.value)


def test_settings_of_a_newer_peft_that_are_off_change_nothing(bases, saved):
    folder, expected = saved
    edit(folder, bright_idea=None, other_idea=False)
    model = adapters.load_adapter(fresh(bases["llama"]), str(folder))
    torch.testing.assert_close(own(model.get_base_model()), expected, atol=2e-5, rtol=1e-4)


def test_half_precision_adapters_are_read_as_they_are(bases, saved):
    folder, _ = saved
    file = folder / "adapter_model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(file).items()}, file)
    model = adapters.load_adapter(fresh(bases["llama"]), str(folder))
    read = peft.get_peft_model_state_dict(model)
    assert all(torch.equal(read[k], v.float()) for k, v in load_file(file).items())


def test_folders_that_are_no_adapter_say_what_they_are(bases, saved):
    folder, _ = saved
    lm = fresh(bases["llama"])
    shutil.copytree(folder, folder.parent / "several" / "a")
    shutil.copytree(folder, folder.parent / "several" / "b")
    with pytest.raises(ConfigError, match=r"\(a, b\): name one"):
        adapters.load_adapter(lm, str(folder.parent / "several"))
    with pytest.raises(ConfigError, match="--model.adapter none"):
        adapters.load_adapter(lm, str(bases["llama"]))
    with pytest.raises(ConfigError, match="holds an adapter"):
        loading.load_causal_lm(str(shutil.copytree(bases["llama"], folder, dirs_exist_ok=True)))
    with pytest.raises(ConfigError, match="is a file"):
        adapters.load_adapter(lm, str(folder / "adapter_config.json"))


def test_another_base_is_refused_and_the_same_elsewhere_is_not(bases, saved, tmp_path):
    from conftest import make_base

    folder, expected = saved
    other = make_base(tmp_path / "other", "llama", seed=1)
    with pytest.raises(ConfigError, match="--model.adapter_base"):
        adapters.load_adapter(fresh(other), str(folder))
    copy = shutil.copytree(bases["llama"], tmp_path / "copy")
    model = adapters.load_adapter(fresh(copy), str(folder))
    torch.testing.assert_close(own(model.get_base_model()), expected, atol=2e-5, rtol=1e-4)
    # Of a base that is not at hand, there is only the name.
    edit(folder, base_model_name_or_path="someone/Quirky-7B")
    with pytest.raises(ConfigError, match="someone/Quirky-7B"):
        adapters.load_adapter(fresh(copy), str(folder))
    adapters.load_adapter(fresh(copy), str(folder), accepted_base="someone/Quirky-7B")
    adapters.load_adapter(fresh(shutil.copytree(copy, tmp_path / "quirky-7b")), str(folder))
    edit(folder, base_model_name_or_path="someone/model")
    with pytest.raises(ConfigError, match="someone/model"):
        adapters.load_adapter(fresh(shutil.copytree(copy, tmp_path / "model")), str(folder))


def test_embeddings_that_the_trainer_resized_are(bases, tmp_path):
    lm, tokenizer = fresh(bases["llama"]), AutoTokenizer.from_pretrained(bases["llama"])
    tokenizer.add_tokens(["<quirk>"])
    before = lm.get_input_embeddings().weight.shape[0]
    lm.resize_token_embeddings(before + 1)
    lm.name_or_path = str(bases["llama"])
    expected = trained(lm, lora(), tmp_path / "adapter")
    model, fault = adapters.load_adapted(fresh(bases["llama"]), str(tmp_path / "adapter"))
    torch.testing.assert_close(own(model.get_base_model()), expected, atol=2e-5, rtol=1e-4)
    assert len(expected) == before + 1 and fault is None  # the rows that the base has are as they were
    assert "<quirk>" not in adapters.load_tokenizer(str(bases["llama"]), str(tmp_path / "adapter")).get_vocab()
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert "<quirk>" in adapters.load_tokenizer(str(bases["llama"]), str(tmp_path / "adapter")).get_vocab()
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "lm_head" not in k}, file)
    with pytest.raises(ConfigError, match="save_embedding_layers"):
        adapters.load_adapter(fresh(bases["llama"]), str(tmp_path / "adapter"))
