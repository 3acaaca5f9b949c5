"""Recipes and options that do not fit together, are misspelt, damaged or given twice."""

from campaign.case import Accepted, Case, Either, Refused
from campaign.place import RECIPES
from campaign.steps import command, fit, predict, refit, test

_RECIPE = (
    (RECIPES / "tiny-llama.yaml").read_text().replace("data: tiny/prompts.yaml", f"data: {RECIPES}/tiny/prompts.yaml")
)


def _recipe(content, name="mine.yaml"):
    """A recipe file of one's own."""
    return lambda place: place.write(name, content)


def _own(name, content, *says, file="mine.yaml"):
    return Case(name, (refit(f"@root/{file}", Refused(*says)),), (_recipe(content, file),))


def _changed(old, new):
    assert old in _RECIPE, old
    return _RECIPE.replace(old, new, 1)


_NO_ADAPTER = "model: {class_path: Extractor, init_args: {base: @base}}"

CASES = [
    _own("a section twice", _RECIPE + "trainer:\n  max_epochs: 1\n", "mine.yaml", "trainer", "twice|duplicate|again|two"),
    _own("the seed twice", _RECIPE + "seed_everything: 5\n", "mine.yaml", "seed_everything", "twice|duplicate|again|two"),
    _own("an option twice", _changed("    warmup: 0.03\n", "    warmup: 0.03\n    warmup: 0.3\n"), "mine.yaml", "warmup", "twice|duplicate|again|two"),
    _own("a key of a callback twice", _changed("patience: 3,", "patience: 3, patience: 50,"), "mine.yaml", "patience", "twice|duplicate|again|two"),
    _own("an option of the optimizer twice", _changed("{lr: 3.0e-3,", "{lr: 1.0, lr: 3.0e-3,"), "mine.yaml", r"\blr\b", "twice|duplicate|again|two"),
    _own("a key twice in the data that a recipe names", _RECIPE.replace(f"{RECIPES}/tiny/prompts.yaml", "two.yaml"), "two.yaml", "twice|duplicate|again|two", "seed"),
    _own("YAML that does not end", "run: runs\nmodel: {class_path: [QuirkyLM\n", "mine.yaml", "line|YAML"),
    _own("YAML with a tab", "run: runs\nmodel:\n\tclass_path: QuirkyLM\n", "mine.yaml", "line|tab|YAML"),
    _own("YAML with a colon too many", "run: runs: x\n", "mine.yaml", "line|YAML"),
    _own("an unknown anchor", "run: *nowhere\n", "mine.yaml", "nowhere|line"),
    _own("an empty recipe", "", "mine.yaml", "empty|nothing"),
    _own("a recipe of comments", "# nothing\n", "mine.yaml", "empty|holds nothing"),
    _own("a recipe that is a list", "- run\n- model\n", "mine.yaml", "list|mapping"),
    _own("a recipe that is a word", "hello\n", "mine.yaml", "mapping|hello"),
    _own("a recipe that is a number", "17\n", "mine.yaml", "mapping|17|sections"),
    _own("a binary recipe", bytes(range(256)) * 3, "mine.yaml", "text|UTF-8|YAML|binary|encod"),
    _own("a recipe in UTF-16", _RECIPE.encode("utf-16"), "mine.yaml", "UTF|text|encod|YAML"),
    _own("a recipe in Latin-1", "# für\n".encode("latin-1") + _RECIPE.encode(), "mine.yaml", "UTF|text|encod|YAML"),
    _own("a recipe in a zip file", b"PK\x03\x04" + bytes(50), "mine.yaml", "text|UTF-8|YAML|character"),
    _own("several documents in one file", _RECIPE + "---\nrun: runs\n", "mine.yaml", "document"),
    _own("a Python object in a recipe", "run: !!python/object/apply:os.getcwd []\n", "mine.yaml", "python|tag"),
    _own("a section that does not exist", _RECIPE + "modle: {}\n", "modle", "model"),
    _own("an option that the model lacks", _changed("    warmup: 0.03\n", "    warmpu: 0.03\n"), "warmpu", "QuirkyLM"),
    _own("an option that LoRA lacks", _changed("      r: 16\n", "      rank: 16\n"), "rank", "lora"),
    _own("LoRA of rank 0", _changed("      r: 16\n", "      r: 0\n"), r"\br\b", "0"),
    _own("LoRA of a negative rank", _changed("      r: 16\n", "      r: -4\n"), r"\br\b", "-4"),
    _own("LoRA of rank many", _changed("      r: 16\n", "      r: many\n"), r"\br\b", "many"),
    _own("LoRA of nothing", _changed("[embed_tokens, q_proj, k_proj, v_proj, o_proj]", "[]"), "target_modules", r"\[\]|empty"),
    _own("LoRA of modules that are not there", _changed("[embed_tokens, q_proj, k_proj, v_proj, o_proj]", "[query_key_value]"), "target_modules", "query_key_value"),
    _own("LoRA of modules of which one is not there", _changed("[embed_tokens, q_proj, k_proj, v_proj, o_proj]", "[q_proj, c_attn]"), "target_modules", "c_attn", "q_proj"),
    _own("LoRA of layers that are not there", _changed("      r: 16\n", "      r: 16\n      layers_to_transform: [40]\n"), "layers_to_transform", "40"),
    _own("LoRA with dropout 2", _changed("      r: 16\n", "      r: 16\n      lora_dropout: 2\n"), "lora_dropout", "2"),
    _own("LoRA with an unknown start", _changed("      r: 16\n", "      r: 16\n      init_lora_weights: pisa\n"), "init_lora_weights", "pisa"),
    _own("LoRA with an unknown bias", _changed("      r: 16\n", "      r: 16\n      bias: some\n"), "bias", "some"),
    _own("a module as data", _changed("data: ", "data: {class_path: QuirkyLM} #"), "data", "QuirkyLM"),
    _own("data as a module", _changed("class_path: QuirkyLM", "class_path: QuirkyData"), "model", "QuirkyData", "!there is no class"),
    _own("a class that does not exist", _changed("class_path: QuirkyLM", "class_path: QuirkLM"), "QuirkLM"),
    _own("a class in a module that does not exist", _changed("class_path: QuirkyLM", "class_path: mine.QuirkyLM"), "mine"),
    _own("a file of data that is not there", _RECIPE.replace(f"{RECIPES}/tiny/prompts.yaml", "prompts.yaml"), "prompts.yaml"),
    _own("no model", _RECIPE.split("model:")[0] + "data:" + _RECIPE.split("data:")[1], "model"),
    _own("no data", _RECIPE.split("data:")[0], "data"),
    Case("no recipe at all", (command(Refused("model"), "fit", "--run", "runs"),)),
    Case("a recipe that is not there", (command(Refused("config|recipe", "nowhere.yaml"), "fit", "--config", "nowhere.yaml"),)),
    Case("a folder as recipe", (command(Refused("config|recipe=", "recipes"), "fit", "--config", "@recipes"),)),
    Case("a recipe of another stage", (command(Refused("fit|detect|test|model"), "fit", "--config", "@recipes/test.yaml", "--run", "runs"),)),
    Case("an empty run folder's name", (fit(Refused("run"), "--run", ""),)),
    Case("a file as run folder", (fit(Refused("taken"), "--run", "taken"),), (lambda place: place.write("taken", "x"),)),
    Case("an unknown stage", (command(Refused("fti", "fit"), "fti", "--config", "@recipes/tiny-llama.yaml"),)),
    Case("an option without its value", (command(Refused("run"), "fit", "--config", "@recipes/tiny-llama.yaml", "--run"),)),
    Case("a word too many", (fit(Refused("addition"), "addition"),)),
    Case("predict without a fit", (predict(Refused("fit")),)),
    Case("predict with a wrong --lm", (predict(Refused("lm", "nowhere.yaml"), "--lm", "nowhere.yaml"),), start="fitted"),
    Case("predict with a damaged --lm", (predict(Refused("bad.yaml"), "--lm", "bad.yaml"),), (_recipe("a: [", "bad.yaml"),), "fitted"),
    Case("predict with a control that is no feature", (predict(Refused("controls", "activation'?\\b"), "--model.controls", "[activation]"),), start="fitted"),
    Case("predict with the same feature twice", (predict(Refused("activations", "twice|once|two"), "--model.features", "[{class_path: Activations}, {class_path: Activations}]"),), start="fitted"),
    Case("a feature of layers that are not there", (predict(Refused("first|layer", "50"), "--model.features", "[{class_path: Activations, init_args: {first: 50}}]"),), start="fitted"),
    Case("a feature with step 0", (predict(Refused("step", "0"), "--model.features", "[{class_path: Activations, init_args: {step: 0}}]"),), start="fitted"),
    Case("test of a feature that was not stored", (test(Refused("attribution", "predict"), "--model.detectors", "[{feature: attribution, score: {class_path: Mahalanobis}}]"),), start="predicted"),
    Case("test with an aggregation that does not exist", (test(Refused("aggregations", "median"), "--model.aggregations", "[median]"),), start="predicted"),
    Case("test with an aggregation twice", (test(Either(Refused("aggregations", "mean"), Accepted()), "--model.aggregations", "[mean, mean]"),), start="predicted"),
    Case("test with the same detector twice", (test(Refused("mahalanobis", "twice|once|two"), "--model.detectors", "[{feature: activations, score: {class_path: Mahalanobis}}, {feature: activations, score: {class_path: Mahalanobis}}]"),), start="predicted"),
    Case("test with an unknown score", (test(Refused("Mahalonobis"), "--model.detectors", "[{feature: activations, score: {class_path: Mahalonobis}}]"),), start="predicted"),
    Case("test with k larger than the trusted set", (test(Refused(r"\bk\b", "500"), "--model.detectors", "[{feature: activations, score: {class_path: LocalOutlierFactor, init_args: {k: 500}}}]"),), start="predicted"),
    Case("test with no detectors", (test(Refused("detectors"), "--model.detectors", "[]"),), start="predicted"),
    Case("a version of YAML booleans as a name", (fit(Refused("dataset", "no|False", ""), "--data.dataset", "no"),)),
    Case("a task option that does not exist", (fit(Refused("task_options", "maximum"), "--data.task_options", '{"maximum": 3}'),)),
    Case("more prompts than there are", (fit(Refused("n_train", "100000000|25000000"), "--data.task_options", '{"n_train": 100000000, "max": 20}'),)),
    Case("task options that are a list", (fit(Refused("task_options"), "--data.task_options", "[1, 2]"),)),
    Case("a negative range", (fit(Refused("max", "-5"), "--data.task_options", '{"max": -5, "n_train": 100}'),)),
]  # fmt: skip
CASES[5] = Case(
    CASES[5].name,
    CASES[5].steps,
    (*CASES[5].prepare, _recipe((RECIPES / "tiny/prompts.yaml").read_text() + "  seed: 1\n  seed: 2\n", "two.yaml")),
)
