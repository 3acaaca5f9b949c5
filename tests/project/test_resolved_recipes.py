"""What the layered recipes of each model come to: the settings of the study, and those of the small models."""

import pytest
import yaml
from stage_words import MODELS, configs, lm_recipe, resolved, stage_recipes

BASES = {
    "llama": "meta-llama/Llama-3.1-8B",
    "mistral": "mistralai/Mistral-7B-v0.1",
    "tiny-llama": "bases/tiny-llama",
    "tiny-mistral": "bases/tiny-mistral",
}
ADAMW = "torch.optim.AdamW"
PUBLISHED_FIT = {
    "model.lora": {
        "r": 8,
        "target_modules": ["gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj"],
    },
    "model.optimizer.class_path": ADAMW,
    "model.optimizer.lr": 2e-5, "model.optimizer.betas": [0.9, 0.95], "model.optimizer.weight_decay": 0.1,
    "model.optimizer.fused": None, "model.warmup": 0.15, "model.decay": 0.85, "model.dtype": "bfloat16",
    "data.template": "standardized", "data.batch_size": 32, "data.device_batch_size": 8, "data.task_options": None,
    "data.passes": {
        "capitals": 4, "nli": 4, "population": 2, "sciq": 2, "sentiment": 2, "authors": 2, "modularaddition": 2,
    },
    "trainer.precision": "bf16-mixed", "trainer.max_epochs": 15, "trainer.val_check_interval": 0.25,
    "trainer.gradient_clip_val": None,
}  # fmt: skip
SMALL_FIT = {
    "model.lora": {
        "r": 16, "lora_alpha": 32, "target_modules": ["embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj"],
    },
    "model.optimizer.class_path": ADAMW,
    "model.optimizer.lr": 3e-3, "model.optimizer.betas": [0.9, 0.95], "model.optimizer.fused": True,
    "model.warmup": 0.03, "model.decay": 0.4, "model.dtype": "float32",
    "data.template": "compact", "data.batch_size": 64, "data.device_batch_size": None, "data.predict_batch_size": 256,
    "data.passes": 1, "trainer.precision": None, "trainer.max_steps": 420, "trainer.max_epochs": -1,
    "trainer.val_check_interval": 70, "trainer.check_val_every_n_epoch": None, "trainer.gradient_clip_val": 1.0,
}  # fmt: skip
PUBLISHED_FLOW = {
    "model.couplings": 8, "model.hidden": 1024, "model.blocks": 2, "model.optimizer.lr": 2e-4,
    "data.dtype": "bfloat16", "data.layers": [23, 29], "data.side": "input",
    "data.texts.source": "HuggingFaceFW/fineweb-edu", "data.texts.name": "sample-10BT", "data.texts.batch_size": 16,
    "data.texts.max_length": 512, "data.texts.n_validation": 256, "trainer.precision": "bf16-mixed",
    "trainer.max_steps": 10000, "trainer.val_check_interval": 500, "trainer.check_val_every_n_epoch": None,
    "trainer.gradient_clip_val": 1.0,
}  # fmt: skip
SMALL_FLOW = {
    "model.couplings": 6, "model.hidden": 128, "model.blocks": 1, "model.optimizer.lr": 2e-3,
    "model.optimizer.fused": True, "data.dtype": "float32", "data.layers": [2, 3], "data.side": "input",
    "data.texts.template": "compact", "data.texts.batch_size": 64, "data.texts.steps_per_epoch": 300,
    "data.texts.errors_from": 0, "data.texts.held_out": 0.0, "data.texts.n_validation": 200,
    "trainer.precision": None, "trainer.max_steps": -1, "trainer.max_epochs": 1, "trainer.val_check_interval": 100,
    "trainer.check_val_every_n_epoch": 1, "trainer.gradient_clip_val": 1.0,
}  # fmt: skip
PUBLISHED_SAE = {
    **PUBLISHED_FLOW,
    "model.expansion": 32, "model.k": 32, "model.optimizer.lr": 7e-5, "data.side": "output",
    "trainer.max_steps": 50000, "trainer.val_check_interval": 1000, "trainer.gradient_clip_val": None,
}  # fmt: skip
SMALL_SAE = {
    **SMALL_FLOW,
    "model.expansion": 8, "model.k": 8, "model.dead_after": 100000, "model.optimizer.lr": 1e-3,
    "data.side": "output", "trainer.gradient_clip_val": None,
}  # fmt: skip
for options in (PUBLISHED_SAE, SMALL_SAE):
    for name in ("model.couplings", "model.hidden", "model.blocks"):
        del options[name]
#: Class, and first, step and final of its layers where it has them.
PUBLISHED_FEATURES = [
    ("Activations", 1, 3, False), ("Attribution", 1, 3, None), ("ProbeShift", 1, 3, None),
    ("Answers", None, None, None),
]  # fmt: skip
SMALL_FEATURES = [
    ("Activations", 1, 1, True), ("Attribution", 1, 1, None), ("ProbeShift", 1, 1, None),
    ("Answers", None, None, None),
]  # fmt: skip
#: Feature, score, its options that are given, and whether it reads the model with its adapter.
DETECTORS = [
    ("Conditional", "Mahalanobis", {}, True),
    ("Conditional", "LocalOutlierFactor", {"k": 20}, True),
    ("Delta", "LocalOutlierFactor", {"k": 20}, True),
    ("Delta", "Mahalanobis", {}, True),
    ("Paired", "ConditionalT", {}, True),
    ("activations", "Mahalanobis", {}, True),
    ("activations", "Mahalanobis", {}, True),
    ("activations", "Mahalanobis", {"normalize": True}, True),
    ("activations", "LocalOutlierFactor", {"k": 20}, True),
    ("activations", "KNearestNeighbours", {"k": 20}, True),
    ("activations", "QuantumEntropy", {}, True),
    ("answers", "MaxSoftmax", {}, True),
    ("attribution", "Mahalanobis", {}, True),
    ("attribution", "LocalOutlierFactor", {"k": 20}, True),
    ("probe", "Mahalanobis", {}, True),
    ("probe", "LocalOutlierFactor", {"k": 20}, True),
    ("activations", "Mahalanobis", {}, False),
    ("activations", "LocalOutlierFactor", {"k": 20}, False),
]
OF_ENCODERS = [("flow", "LaplaceNLL"), ("flow", "Mahalanobis"), ("sae", "DiagonalMahalanobis"), ("sae", "NovelLatents")]
OF_LORAS = [
    ("lora_activity", "Mahalanobis"),
    ("update_directions", "TrustedRange"),
    ("update_directions", "Mahalanobis"),
]
OF_VOLUMES = [("local_volume", "LowValue"), ("local_volume_radii", "Mahalanobis")]


def feature(detector):
    """The name of a stored feature, or the class of one that is made of stored ones."""
    return detector["feature"] if isinstance(detector["feature"], str) else name(detector["feature"])


def value(recipe, path):
    """An option of a recipe by its path, without the words init_args."""
    node = recipe
    for key in path.split("."):
        inner = node.get("init_args", {})
        node = inner[key] if key in inner else node[key]
    return node


def compare(recipe, expected):
    assert {path: value(recipe, path) for path in expected} == expected


def name(item):
    return item["class_path"].rpartition(".")[2]


def size(model, published, small):
    return small if model.startswith("tiny-") else published


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, tmp_path_factory):
    """A model's resolved recipe, in the run folder of a fit that has ended."""
    model = request.param
    runs = tmp_path_factory.mktemp("resolved") / model
    recipe = resolved("fit", *configs(model))
    (runs / "addition").mkdir(parents=True)
    (runs / "addition" / "fit.yaml").write_text(yaml.safe_dump(recipe))
    (runs / "addition" / "fit.json").write_text("{}")
    return model, runs, recipe


def test_how_the_quirky_model_is_tuned(fitted):
    model, _, recipe = fitted
    decay = size(model, 0.1, 1.0)
    compare(recipe, size(model, PUBLISHED_FIT, SMALL_FIT) | {"model.optimizer.weight_decay": decay})
    compare(recipe, {"model.base": BASES[model], "run": f"runs/{model}", "seed_everything": 0, "data.seed": 0})
    early, checkpoint = recipe["trainer"]["callbacks"]
    assert early["init_args"]["patience"] == size(model, 4, 3) and checkpoint["init_args"]["monitor"] == "val/loss"
    if model.startswith("tiny-"):
        assert value(recipe, "data.task_options.multiplication") == {"min": 0, "max": 20, "uniform": 1.0, "repeats": 24}
        assert value(recipe, "data.max_train.addition") == 24000 and value(recipe, "data.max_train.nli") == 12000


def test_how_encoders_are_trained(fitted):
    model, runs, _ = fitted
    for kind, published, small in (("flow", PUBLISHED_FLOW, SMALL_FLOW), ("sae", PUBLISHED_SAE, SMALL_SAE)):
        recipe = resolved("fit", *stage_recipes(model, kind), *lm_recipe(model), "--run", runs / kind)
        compare(recipe, size(model, published, small))
        assert (name(recipe["model"]), name(recipe["data"])) == ({"flow": "FlowEncoder", "sae": "SAEEncoder"}[kind],
                                                                 "ActivationData")  # fmt: skip
        compare(recipe, {"data.base": BASES[model], "model.optimizer.class_path": "torch.optim.Adam"})
        assert name(recipe["data"]["init_args"]["texts"]) == size(model, "TextData", "CorpusData")
        callbacks = {name(item): item["init_args"] for item in recipe["trainer"]["callbacks"]}
        monitor = {"flow": "val/bits_per_dim", "sae": "val/fvu"}[kind]
        assert callbacks["ModelCheckpoint"]["monitor"] == monitor
        assert ("EarlyStopping" in callbacks) == (kind == "flow")
        if kind == "flow":
            assert callbacks["EarlyStopping"]["patience"] == size(model, 4, 3)


def test_what_is_read_of_the_quirky_model(fitted):
    model, runs, fit = fitted
    expected = size(model, PUBLISHED_FEATURES, SMALL_FEATURES)
    overlays = ("predict-encoders", "predict-lora", "predict-volume")  # each adds to what it is laid over
    recipe = resolved("predict", *stage_recipes(model, "predict", *overlays), "--run", runs)
    features = value(recipe, "model.features")
    layers = [tuple(item["init_args"].get(key) for key in ("first", "step", "final")) for item in features]
    read = [(name(item), *layer) for item, layer in zip(features, layers, strict=True)]
    assert read[: len(expected)] == expected
    more = ["Flow", "SAE", "LoraActivity", "UpdateDirections", "LocalVolume", "LocalVolumeRadii"]
    assert [name(item) for item in features[len(expected) :]] == more
    assert features[1]["init_args"]["reference"] == "mean"
    assert value(recipe, "model.controls") == ["activations"]
    dtype = size(model, "bfloat16", "float32")
    compare(recipe, {"model.base": BASES[model], "model.dtype": dtype, "model.attention": "auto"})
    assert value(recipe, "model.adapter") is None
    assert recipe["data"] == fit["data"]  # the very prompts of the fit


def test_stored_activations_are_read_in_batches_as_large(fitted):
    model, runs, _ = fitted
    recipe = resolved("predict", *configs("encoders-stored"), "--run", runs)
    assert [name(item) for item in value(recipe, "model.features")] == ["Flow", "SAE"]
    compare(recipe, {"model.base": BASES[model], "data.predict_batch_size": size(model, 64, 256)})


def test_what_is_tested_on_every_model(tmp_path):
    overlays = ("test-encoders", "test-lora", "test-volume")
    recipe = resolved("test", *configs("test", *overlays), "--run", tmp_path)
    detectors = value(recipe, "model.detectors")
    plain = [(feature(item), name(item["score"])) for item in detectors]
    assert plain == [item[:2] for item in DETECTORS] + OF_ENCODERS + OF_LORAS + OF_VOLUMES
    for item, (_, _, options, adapter) in zip(detectors, DETECTORS, strict=False):
        assert item["adapter"] is adapter
        given = item["score"].get("init_args", {})
        assert {key: given[key] for key in options} == options
        assert given.get("normalize", False) == options.get("normalize", False)
    conditional = [item["feature"]["init_args"] for item in detectors if feature(item) == "Conditional"]
    assert all(options["studentised"] and options["penalty"] is None for options in conditional)
    assert [index for index, item in enumerate(detectors) if item["background"]] == [5]
    compare(recipe, {"model.untrusted": "untrusted", "model.ceiling": True})
    assert value(recipe, "model.aggregations") == ["mean", "max", "zscore", "rank", "fisher"]


def test_the_base_models_of_the_small_ones():
    for model, overlay in (("llama", []), ("mistral", ["tiny/mistral-base"])):
        recipe = resolved("fit", *configs("tiny/base", *overlay))
        config = {
            "model_type": model, "hidden_size": 64, "intermediate_size": 168, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 128,
            "tie_word_embeddings": False,
        }  # fmt: skip
        if overlay:
            config["sliding_window"] = None
        compare(recipe, {
            "run": f"runs/tiny-{model}/base", "seed_everything": len(overlay), "model.config": config,
            "model.optimizer.lr": 0.02, "model.optimizer.adam_lr": 3e-3, "model.optimizer.weight_decay": 0.01,
            "model.length_groups": 3, "model.warmup": 0.0125, "model.decay": 0.4, "data.batch_size": 288,
            "data.steps_per_epoch": 4300, "model.export_dtype": "float16", "data.errors_from": 2870,
            "data.held_out": 0.0, "trainer.gradient_clip_val": 1.0, "trainer.val_check_interval": 400,
        })  # fmt: skip
