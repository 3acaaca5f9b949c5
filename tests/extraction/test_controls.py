"""Controls are read from the base model, whatever the adapter did to it."""

import lightning as L
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError
from madkit.extraction.extractor import Extractor
from madkit.features import Activations, ProbeShift
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant

FEW = {f"max_{split}": 4 for split in ("untrusted", "test", "calibration")}
FEW["max_trusted"] = 12  # a probe needs two of both answers


def predict(root, base, *, learning=False, **options):
    data = QuirkyData(
        "addition",
        task_options={"n_train": 1200, "n_validation": 200, "n_test": 0},
        predict_batch_size=8,
        shard_size=24,
        **FEW,
    )
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=root, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    features: list = [Activations(first=4, step=1)]
    if learning:
        features.append(ProbeShift(first=3, step=1))
    controls = [feature.name for feature in features]
    extractor = Extractor(str(base), features, controls=controls, dtype="float32", **options)
    trainer.predict(extractor, datamodule=data, return_predictions=False)


def stored_vector(root, variant):
    """The stored vector of one prompt, what enters the last layer, and the prompt."""
    store = FeatureStore.current(variant.folder(root))
    rows, x = store.read(store.sites[-1], "test")
    return x[0], store.rows.set_index("row").loc[int(rows[0]), "prompt"]


def entering_last_layer(model, base, prompt):
    ids = torch.tensor([AutoTokenizer.from_pretrained(base)(prompt)["input_ids"]])
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states[-2][0, -1]


def shaken(lm, config=None):
    torch.manual_seed(0)
    lm = lm if config is None else peft.get_peft_model(lm, config)
    with torch.no_grad():
        for p in lm.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.05)
    return lm.eval()


def fresh(base):
    return AutoModelForCausalLM.from_pretrained(base).eval()


@pytest.mark.parametrize("kind", ["lora", "pissa", "bias", "whole"])
def test_the_control_is_the_base(bases, tmp_path, kind):
    base = bases["gpt_neox" if kind == "bias" else "llama"]
    targets = ["query_key_value"] if kind == "bias" else ["q_proj", "v_proj"]
    options = {"pissa": {"init_lora_weights": "pissa"}, "bias": {"bias": "all"}}.get(kind, {})
    config = peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", **options)
    tuned = shaken(fresh(base), None if kind == "whole" else config)
    tuned.save_pretrained(tmp_path / "tuned")
    if kind == "whole":
        AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "tuned")
        predict(tmp_path, tmp_path / "tuned", adapter="none", reference=str(base))
    else:
        predict(tmp_path, base, adapter=str(tmp_path / "tuned"), learning=kind == "bias")
    for variant, model in ((Variant("activations"), tuned), (Variant("activations", False), fresh(base))):
        stored, prompt = stored_vector(tmp_path, variant)
        torch.testing.assert_close(stored, entering_last_layer(model, base, prompt), atol=1e-4, rtol=1e-3)


def test_a_reference_of_another_kind_is_refused(bases, tmp_path):
    with pytest.raises(ConfigError, match="other layers"):
        predict(tmp_path, bases["llama"], adapter="none", reference=str(bases["gpt_neox"]))
    with pytest.raises(ConfigError, match="--model.reference"):
        predict(tmp_path, bases["llama"], adapter="none")


def test_a_run_that_was_tuned_in_all_its_weights_says_how_to_read_it(bases, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ConfigError, match="--model.adapter none"):
        predict(tmp_path, bases["llama"])
